"""What the peers share: the clock of the bench, and the inputs of an SDXL-family U-Net."""

import json
import os
import time

START = float(os.environ.get("BENCH_START", time.time()))


def since_start():
    return time.time() - START


def report(ready, run, steps):
    """Runs `run` the given number of times; the first one ends the loading."""
    times = []
    first = 0.0
    for i in range(steps):
        start = time.time()
        run()
        if i == 0:
            first = since_start()
        else:
            times.append(time.time() - start)
    print(json.dumps({"ready": ready, "first": first, "steps": times}), flush=True)


def unet_inputs(size, channels=4, text=2048, pooled=1280):
    import torch

    torch.manual_seed(0)
    cells = size // 8
    sizes = torch.tensor([[size, size, 0, 0, size, size]], dtype=torch.float32)
    added = {"text_embeds": torch.randn(1, pooled), "time_ids": sizes}
    return torch.randn(1, channels, cells, cells), torch.tensor(500.0), torch.randn(1, 77, text), added
