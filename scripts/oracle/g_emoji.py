"""Pictures of the trained emoji model: drawn by diffusers when it was trained, kept beside it, and drawn again here as a check."""

from __future__ import annotations

import json
import shutil

import diffusers
import numpy as np
import torch
from PIL import Image

from g_pictures import psnr
from golden import GOLDEN, made, model_folder, write_json


def make() -> None:
    source = model_folder() / "expected"
    if not source.is_dir():
        print(f"emoji: {source} is not there; the pictures in test/golden/emoji stay as they are")
        return
    pipe = diffusers.StableDiffusionXLPipeline.from_pretrained(model_folder(), torch_dtype=torch.float32, add_watermarker=False)
    pipe.set_progress_bar_config(disable=True)
    target = GOLDEN / "emoji"
    target.mkdir(parents=True, exist_ok=True)
    requests = []
    for r in json.loads((source / "requests.json").read_text()):
        shutil.copyfile(source / r["file"], target / r["file"])
        again = pipe(
            prompt=r["prompt"], negative_prompt=r["negative"], num_inference_steps=r["steps"], guidance_scale=r["guidance"],
            width=r["width"], height=r["height"], generator=torch.Generator("cpu").manual_seed(r["seed"]),
        ).images[0]
        expected = Image.open(source / r["file"]).convert("RGB")
        requests.append({**r, "remadeDb": round(psnr(*(torch.from_numpy(np.array(image)) for image in (again, expected))), 1)})
    write_json(target / "requests.json", {"requests": requests}, made(
        "emoji", seed="each request names its own",
        tolerance="45 dB: up to twenty guided steps in float32, then 8 bits; remadeDb is how close the pinned versions come today",
        how="diffusers, float32 on a CPU from the float16 weights of models/koala-emoji, noise from torch.Generator('cpu').manual_seed(seed)",
    ))
