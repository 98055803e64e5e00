"""Whole pictures by diffusers' own pipelines on the tiny families: prompt in, 8-bit RGB out."""

from __future__ import annotations

import copy
import math
from typing import Any

import diffusers
import numpy as np
import torch

from families import FAMILIES, TRAINED, build_pipeline, build_scheduler
from g_schedulers import full_config
from golden import GOLDEN, made, write_json, write_tensors
from clip_tokenizers import load_tokenizers

EVEN, UNEVEN = {"width": 64, "height": 64}, {"width": 72, "height": 56}
NEGATIVE = {"negative": "blurry, low quality"}
TWO = {"count": 2}

DPM_KARRAS = ("DPMSolverMultistepScheduler", TRAINED | {"use_karras_sigmas": True})
ANCESTRAL = ("EulerAncestralDiscreteScheduler", TRAINED | {"timestep_spacing": "leading"})
LCM = ("LCMScheduler", TRAINED | {"clip_sample": False, "set_alpha_to_one": True, "original_inference_steps": 50})


def request(family: str, steps: int, guidance: float, size: dict[str, int], seed: int, **more: Any) -> dict[str, Any]:
    return {
        "family": family, "prompt": "a red apple on a table", "negative": None, "steps": steps, "guidance": guidance,
        "guidanceRescale": 0.0, **size, "seed": seed, "count": 1, **more,
    }


REQUESTS: dict[str, dict[str, Any]] = {
    "sd15": request("sd15", 5, 5.0, EVEN, 1),
    "sd15-uneven-negative-two": request("sd15", 3, 7.5, UNEVEN, 5, **NEGATIVE, **TWO),
    "sd15-unguided": request("sd15", 2, 1.0, UNEVEN, 6),
    "sd15-dpm-karras": request("sd15", 5, 5.0, UNEVEN, 7, scheduler=DPM_KARRAS),
    "sd15-ancestral-two": request("sd15", 3, 4.0, EVEN, 8, scheduler=ANCESTRAL, **TWO),
    "sd2": request("sd2", 4, 7.5, UNEVEN, 9, **NEGATIVE),
    "sd2-rescale-two": request("sd2", 3, 7.5, EVEN, 10, guidanceRescale=0.7, **TWO),
    "sd21": request("sd21", 2, 5.0, UNEVEN, 11, **TWO),
    "sdxl": request("sdxl", 3, 5.0, EVEN, 12),
    "sdxl-uneven-negative-two": request("sdxl", 2, 5.0, UNEVEN, 13, **NEGATIVE, **TWO),
    "sdxl-rescale": request("sdxl", 2, 7.0, UNEVEN, 14, guidanceRescale=0.5),
    "sdxl-empty-prompt": request("sdxl", 2, 5.0, EVEN, 15, prompt=""),
    "sdxl-turbo-one-step": request("sdxl-turbo", 1, 0.0, EVEN, 16),
    "sdxl-turbo-two": request("sdxl-turbo", 3, 0.0, UNEVEN, 17, **TWO),
    "sdxl-lightning": request("sdxl-lightning", 2, 1.0, UNEVEN, 18),
    "koala-700m": request("koala-700m", 4, 3.5, EVEN, 19),
    "koala-700m-uneven-negative-two": request("koala-700m", 3, 3.5, UNEVEN, 20, **NEGATIVE, **TWO),
    "koala-1b": request("koala-1b", 3, 3.5, UNEVEN, 21),
    "ssd-1b": request("ssd-1b", 3, 5.0, UNEVEN, 22, **NEGATIVE),
    "ssd-1b-lcm-two": request("ssd-1b", 4, 1.0, EVEN, 23, scheduler=LCM, **TWO),
    "vega": request("vega", 3, 5.0, UNEVEN, 24),
    "bk-sdm-base": request("bk-sdm-base", 3, 7.5, UNEVEN, 25),
    "bk-sdm-small": request("bk-sdm-small", 3, 7.5, EVEN, 26),
    "bk-sdm-tiny": request("bk-sdm-tiny", 3, 7.5, UNEVEN, 27, **NEGATIVE),
    "bk-sdm-v2-small": request("bk-sdm-v2-small", 3, 7.5, UNEVEN, 28),
    "lcm": request("lcm", 4, 8.5, EVEN, 29),
    "lcm-uneven-two": request("lcm", 3, 3.0, UNEVEN, 30, **TWO),
    "odd": request("odd", 3, 5.0, UNEVEN, 31, prompt="a very long prompt " * 3),
}


def draw(pipe: diffusers.DiffusionPipeline, r: dict[str, Any]) -> torch.Tensor:
    """uint8 [count, height, width, 3]; picture i from a CPU generator of seed + i."""
    generators = [torch.Generator("cpu").manual_seed(r["seed"] + i) for i in range(r["count"])]
    arguments = {
        "prompt": r["prompt"], "num_inference_steps": r["steps"], "guidance_scale": r["guidance"], "height": r["height"],
        "width": r["width"], "num_images_per_prompt": r["count"], "generator": generators,
    }
    if not isinstance(pipe, diffusers.LatentConsistencyModelPipeline):  # which takes neither
        arguments |= {"negative_prompt": r["negative"], "guidance_rescale": r["guidanceRescale"]}
    return torch.from_numpy(np.stack([np.asarray(image) for image in pipe(**arguments).images]))


def psnr(a: torch.Tensor, b: torch.Tensor) -> float:
    mean = float((a.double() - b.double()).square().mean())
    return 99.0 if mean == 0 else 10 * math.log10(255**2 / mean)


def shaken(pipe: diffusers.DiffusionPipeline) -> diffusers.DiffusionPipeline:
    """The same pipeline with every weight moved by up to one part in a million: how much rounding matters."""
    generator = torch.Generator("cpu").manual_seed(0)
    components = dict(pipe.components)
    for name, model in components.items():
        if isinstance(model, torch.nn.Module):
            components[name] = copy.deepcopy(model)
            for p in components[name].parameters():
                p.mul_(1 + 1e-6 * (2 * torch.rand(p.shape, generator=generator) - 1))
    other = type(pipe)(**components, **({"requires_safety_checker": False} if "safety_checker" in components else {}))
    other.set_progress_bar_config(disable=True)
    return other


def make() -> None:
    tokenizers = load_tokenizers()
    pictures, requests = {}, {}
    with torch.no_grad():
        for family in dict.fromkeys(r["family"] for r in REQUESTS.values()):
            pipe = build_pipeline(FAMILIES[family], *tokenizers)
            moved = shaken(pipe)
            for name, r in REQUESTS.items():
                if r["family"] != family:
                    continue
                for p in (pipe, moved):
                    p.scheduler = build_scheduler(r.get("scheduler", FAMILIES[family].scheduler))
                pictures[name] = draw(pipe, r)
                stability = psnr(pictures[name], draw(moved, r))
                spread = pictures[name].double().std()
                clipped = ((pictures[name] == 0) | (pictures[name] == 255)).double().mean()
                print(f"{name}: {stability:.1f} dB when shaken, spread {spread:.0f}, {100 * clipped:.1f} % at the ends")
                scheduler = {"scheduler": full_config(build_scheduler(r["scheduler"]))} if "scheduler" in r else {}
                requests[name] = {**r, **scheduler, "shakenDb": round(stability, 1)}
    about = made(
        "pictures", seed="each request names its own: picture i from torch.Generator('cpu').manual_seed(seed + i)",
        tolerance="50 dB: shakenDb is how far the picture moves when every weight moves by one part in a million",
    )
    write_tensors(GOLDEN / "pictures.safetensors", pictures, about)
    write_json(GOLDEN / "pictures.json", {"requests": requests}, about)
