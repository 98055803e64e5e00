"""What the peers share: the clock of the bench, what they were asked, and how they answer."""

import json
import os
import sys
import time

START = float(os.environ.get("BENCH_START", time.time()))


def since_start():
    return time.time() - START


def asked():
    """The one argument: an object. See src/node/bench/peers.ts."""
    return json.loads(sys.argv[1])


def answer(**numbers):
    print(json.dumps(numbers), flush=True)


def timed(run, steps):
    """Runs `run` that many times; the first one ends the loading. -> first, the others' seconds by the clock, of processors."""
    times, cpu, first = [], [], 0.0
    for i in range(steps):
        start, used = time.time(), time.process_time()
        run()
        if i == 0:
            first = since_start()
        else:
            times.append(time.time() - start)
            cpu.append(time.process_time() - used)
    return first, times, cpu


class StepClock:
    """When the first step of a picture begins and ends, and how long the others take."""

    def __init__(self):
        self.ready = self.first = None
        self.steps = []
        self.last = 0.0

    def begin(self):
        self.last = time.time()
        if self.ready is None:
            self.ready = since_start()

    def end(self):
        if self.first is None:
            self.first = since_start()
        else:
            self.steps.append(time.time() - self.last)


def tokens_of(model):
    """How many tokens its text encoder reads: CLIP's 77, or fewer."""
    with open(os.path.join(model, "text_encoder", "config.json")) as file:
        return json.load(file).get("max_position_embeddings", 77)


def cells_of(model, size):
    """Cells of the latents along a side of `size` px: the VAE halves it once a stage but the last."""
    with open(os.path.join(model, "vae", "config.json")) as file:
        return size // 2 ** (len(json.load(file)["block_out_channels"]) - 1)


def unet_example(config, size, cells, tokens, batch=1):
    """Random inputs of a U-Net by its diffusers config: sample, t, text, and what SDXL adds."""
    import torch

    torch.manual_seed(0)
    sample = torch.randn(batch, config.in_channels, cells, cells)
    text = torch.randn(batch, tokens, config.cross_attention_dim)
    added = None
    if config.addition_embed_type == "text_time":
        pooled = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
        sizes = torch.tensor([[size, size, 0, 0, size, size]], dtype=torch.float32).repeat(batch, 1)
        added = {"text_embeds": torch.randn(batch, pooled), "time_ids": sizes}
    return sample, torch.tensor(500.0), text, added
