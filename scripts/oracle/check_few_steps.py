"""Whether diffusers draws what koala draws with a few-step run: its model folder, and its LoRA on the teacher.

    koala distill --method pcm --teacher TEACHER --data DATA --lora 8 --out RUN
    koala generate "a red apple" --model RUN/model --seed 5 --output picture.png
    python scripts/oracle/check_few_steps.py TEACHER RUN picture.png --prompt "a red apple" --seed 5

Steps and guidance are those of the run's `_koala` record, the scheduler its own. At least 45 dB are wanted.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import sys

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import torch
from diffusers import DiffusionPipeline
from PIL import Image

LEAST = 45.0


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    error = float(((a.astype(np.float64) - b.astype(np.float64)) ** 2).mean())
    return float("inf") if error == 0 else 10 * float(np.log10(255**2 / error))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("teacher", type=pathlib.Path)
    parser.add_argument("run", type=pathlib.Path)
    parser.add_argument("picture", type=pathlib.Path)
    parser.add_argument("--prompt", required=True)
    parser.add_argument("--seed", type=int, required=True)
    args = parser.parse_args()
    wanted = np.asarray(Image.open(args.picture).convert("RGB"))
    model = args.run / "model"
    use = json.loads((model / "model_index.json").read_text())["_koala"]
    merged = DiffusionPipeline.from_pretrained(model, torch_dtype=torch.float32)
    pipes = {"merged": merged}
    if (model / "pytorch_lora_weights.safetensors").exists():
        adapted = DiffusionPipeline.from_pretrained(args.teacher, torch_dtype=torch.float32)
        adapted.load_lora_weights(str(model))
        adapted.scheduler = merged.scheduler
        pipes["LoRA on the teacher"] = adapted
    worst = float("inf")
    for name, pipe in pipes.items():
        pipe.set_progress_bar_config(disable=True)
        generator = torch.Generator().manual_seed(args.seed)
        with torch.no_grad():
            picture = pipe(
                args.prompt,
                num_inference_steps=use["steps"],
                guidance_scale=use["guidance"],
                height=wanted.shape[0],
                width=wanted.shape[1],
                generator=generator,
            ).images[0]
        decibels = psnr(wanted, np.asarray(picture))
        print(f"{name}: {decibels:.1f} dB")
        worst = min(worst, decibels)
    if worst < LEAST:
        sys.exit(f"expected at least {LEAST} dB")


if __name__ == "__main__":
    main()
