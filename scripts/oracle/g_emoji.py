"""Pictures that diffusers draws with the trained emoji model."""

from __future__ import annotations

from typing import Any

import diffusers
import torch

from golden import GOLDEN, made, model_folder, write_json


def request(prompt: str, seed: int, steps: int = 20, guidance: float = 3.5, negative: str | None = None) -> dict[str, Any]:
    return {"prompt": prompt, "seed": seed, "steps": steps, "guidance": guidance, "negative": negative, "width": 128, "height": 128}


REQUESTS = [
    request("red apple", 1),
    request("cat face", 2, steps=10),
    request("rocket", 3, guidance=5.0),
    request("sunflower", 4, negative="blurry"),
    request("woman health worker: dark skin tone", 5),
    request("a red apple", 1),
]


def make() -> None:
    pipe = diffusers.StableDiffusionXLPipeline.from_pretrained(model_folder(), torch_dtype=torch.float32, add_watermarker=False)
    pipe.set_progress_bar_config(disable=True)
    target = GOLDEN / "emoji"
    target.mkdir(parents=True, exist_ok=True)
    rows = []
    for i, r in enumerate(REQUESTS):
        image = pipe(
            prompt=r["prompt"], negative_prompt=r["negative"], num_inference_steps=r["steps"], guidance_scale=r["guidance"],
            width=r["width"], height=r["height"], generator=torch.Generator("cpu").manual_seed(r["seed"]),
        ).images[0]
        image.save(target / f"{i}.png")
        rows.append({"file": f"{i}.png", **r, "sampler": "Euler, trailing"})
    write_json(target / "requests.json", {"requests": rows}, made(
        "emoji", seed="each request names its own",
        tolerance="45 dB: up to twenty guided steps in float32, then 8 bits",
        how="diffusers, float32 on a CPU from the float16 weights of models/koala-emoji, noise from torch.Generator('cpu').manual_seed(seed)",
    ))
