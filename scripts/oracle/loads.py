"""Whether diffusers loads a folder that koala wrote, and what it draws: python scripts/oracle/loads.py FOLDER [OUT.png] [--prompt …]."""

from __future__ import annotations

import argparse
import os
import pathlib

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import diffusers
import torch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path, nargs="?")
    parser.add_argument("--prompt", default="a red apple")
    parser.add_argument("--size", type=int, default=None, help="side of the picture in pixels (default: the model's)")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--guidance", type=float, default=4.5)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    pipe = diffusers.DiffusionPipeline.from_pretrained(args.folder, dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    network = getattr(pipe, "transformer", None) or pipe.unet
    print(f"{type(pipe).__name__} with {type(network).__name__} of {sum(p.numel() for p in network.parameters()):,} parameters")
    if args.out is None:
        return
    # PixArt's pipelines would draw in one of their own sizes
    own = {"use_resolution_binning": False, "clean_caption": False} if "PixArt" in type(pipe).__name__ else {}
    image = pipe(
        args.prompt, num_inference_steps=args.steps, guidance_scale=args.guidance, height=args.size, width=args.size,
        generator=torch.Generator("cpu").manual_seed(args.seed), **own,
    ).images[0]
    image.save(args.out)


if __name__ == "__main__":
    main()
