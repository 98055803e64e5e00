"""Pictures that start from a picture, and those of which a mask is drawn anew, by diffusers' own pipelines on tiny families."""

from __future__ import annotations

import dataclasses
from typing import Any

import diffusers
import numpy as np
import PIL.Image
import torch

from clip_tokenizers import load_tokenizers
from families import FAMILIES, TRAINED, build_pipeline, build_scheduler
from g_pictures import DPM_KARRAS, EVEN, LCM, NEGATIVE, TWO, UNEVEN, psnr, request, shaken
from g_schedulers import full_config
from golden import GOLDEN, made, write_json, write_tensors

DDIM = ("DDIMScheduler", TRAINED | {"clip_sample": False, "set_alpha_to_one": False})

#: Kinds: from a picture; the same with a mask on an ordinary U-Net; with a mask on a U-Net that reads it.
IMAGE, MASK, READ = "image", "mask", "read"


def start(kind: str, family: str, strength: float, *args: Any, **more: Any) -> dict[str, Any]:
    return {"kind": kind, "strength": strength, **request(family, *args, **more)}


REQUESTS: dict[str, dict[str, Any]] = {
    "sd15-ddim": start(IMAGE, "sd15", 0.75, 6, 5.0, EVEN, 1, scheduler=DDIM),
    "sd15-dpm-karras-two": start(IMAGE, "sd15", 0.5, 8, 5.0, UNEVEN, 2, scheduler=DPM_KARRAS, **NEGATIVE, **TWO),
    "sd2-all": start(IMAGE, "sd2", 1.0, 3, 5.0, UNEVEN, 3),
    "sdxl": start(IMAGE, "sdxl", 0.3, 10, 5.0, UNEVEN, 4),
    "koala-700m": start(IMAGE, "koala-700m", 0.6, 5, 3.5, EVEN, 5, **TWO),
    "ssd-1b-lcm": start(IMAGE, "ssd-1b", 0.5, 4, 1.0, EVEN, 6, scheduler=LCM),
    "sd15-mask": start(MASK, "sd15", 0.75, 4, 5.0, EVEN, 7, scheduler=DDIM),
    "koala-700m-mask": start(MASK, "koala-700m", 0.5, 6, 3.5, UNEVEN, 8),
    # one: of several, diffusers draws the latents of the masked picture by the first generator for all
    "sd15-inpainting": start(READ, "sd15", 1.0, 3, 5.0, EVEN, 9, scheduler=DDIM),
    "sd15-inpainting-half": start(READ, "sd15", 0.5, 6, 5.0, UNEVEN, 10, scheduler=DDIM),
    "sdxl-inpainting": start(READ, "koala-700m", 0.75, 4, 3.5, EVEN, 11),
}


def picture(width: int, height: int) -> np.ndarray:
    """uint8 [H, W, 3]: three slow waves."""
    y, x = np.mgrid[:height, :width] / np.array([[[height]], [[width]]])
    waves = [np.sin(6 * x + 2 * y), np.cos(5 * y - x), np.sin(4 * (x + y) + 1)]
    return np.stack([np.round(127.5 + 100 * wave) for wave in waves], -1).astype(np.uint8)


def mask(width: int, height: int) -> np.ndarray:
    """uint8 [H, W, 3], white on whole latent cells: a block that touches no edge."""
    white = np.zeros((height, width, 3), np.uint8)
    white[16 : height - 8, 8 : width - 24] = 255
    return white


def pipeline(r: dict[str, Any], tokenizers) -> diffusers.DiffusionPipeline:
    family = FAMILIES[r["family"]]
    if r["kind"] == READ:
        family = dataclasses.replace(family, unet=family.unet | {"in_channels": 9})
    pipe = build_pipeline(family, *tokenizers)
    pipe.scheduler = build_scheduler(r.get("scheduler", family.scheduler))
    return pipe


def started(pipe: diffusers.DiffusionPipeline, kind: str) -> diffusers.DiffusionPipeline:
    is_xl = isinstance(pipe, diffusers.StableDiffusionXLPipeline)
    name = f"StableDiffusion{'XL' if is_xl else ''}{'Img2Img' if kind == IMAGE else 'Inpaint'}Pipeline"
    more = {} if is_xl else {"requires_safety_checker": False}
    other = getattr(diffusers, name)(**pipe.components, **more)
    other.set_progress_bar_config(disable=True)
    return other


def draw(pipe: diffusers.DiffusionPipeline, r: dict[str, Any]) -> torch.Tensor:
    """uint8 [count, H, W, 3]; outside the mask the pixels are those of the picture, as most tools paste them."""
    image, white = picture(r["width"], r["height"]), mask(r["width"], r["height"])
    generators = [torch.Generator("cpu").manual_seed(r["seed"] + i) for i in range(r["count"])]
    arguments = {
        "prompt": r["prompt"], "negative_prompt": r["negative"], "image": PIL.Image.fromarray(image), "strength": r["strength"],
        "num_inference_steps": r["steps"], "guidance_scale": r["guidance"], "num_images_per_prompt": r["count"],
        "generator": generators,
    }
    if r["kind"] != IMAGE:
        arguments |= {"mask_image": PIL.Image.fromarray(white), "width": r["width"], "height": r["height"]}
    drawn = [np.asarray(one) for one in started(pipe, r["kind"])(**arguments).images]
    if r["kind"] != IMAGE:
        drawn = [np.where(white > 0, one, image) for one in drawn]
    return torch.from_numpy(np.stack(drawn))


def make() -> None:
    tokenizers = load_tokenizers()
    tensors, requests = {}, {}
    with torch.no_grad():
        for name, r in REQUESTS.items():
            pipe = pipeline(r, tokenizers)
            tensors[name] = draw(pipe, r)
            stability = psnr(tensors[name], draw(shaken(pipe), r))
            moved = psnr(tensors[name][:1], torch.from_numpy(picture(r["width"], r["height"])[None]))
            print(f"{name}: {stability:.1f} dB when shaken, {moved:.1f} dB from the picture it starts from")
            scheduler = {"scheduler": full_config(build_scheduler(r["scheduler"]))} if "scheduler" in r else {}
            requests[name] = {**r, **scheduler, "shakenDb": round(stability, 1)}
    for size in (EVEN, UNEVEN):
        label = f"{size['width']}x{size['height']}"
        tensors[f"start {label}"] = torch.from_numpy(picture(**size))
        tensors[f"mask {label}"] = torch.from_numpy(mask(**size))
    about = made(
        "starts", seed="each request names its own: picture i from torch.Generator('cpu').manual_seed(seed + i)",
        tolerance="50 dB: shakenDb is how far the picture moves when every weight moves by one part in a million",
    )
    write_tensors(GOLDEN / "starts.safetensors", tensors, about)
    write_json(GOLDEN / "starts.json", {"requests": requests}, about)
