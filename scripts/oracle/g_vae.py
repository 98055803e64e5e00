"""Autoencoders: pictures to moments and back, with and without middle attention, with each way of scaling."""

from __future__ import annotations

import diffusers
import torch

from families import VAE_SD, VAE_XL, vae
from fill import fill, fill_model
from golden import GOLDEN, census, made, relative_error, write_json, write_tensors

#: What differs between them is in the name; configs are written by save_config beside the tensors.
KL = {
    "sd": VAE_SD,
    "sdxl": VAE_XL,
    "no-mid-attention": vae(mid_block_add_attention=False, scaling_factor=0.47536),
    "no-quant-shift": vae(use_quant_conv=False, use_post_quant_conv=False, shift_factor=0.0609, scaling_factor=0.3611, latent_channels=16),
}
TAESD = {"encoder_block_out_channels": [16] * 4, "decoder_block_out_channels": [16] * 4}

#: Pictures [2, 3, H, W], latents [2, L, H/8, W/8]; the uneven one has odd latents in both directions.
CASES = {"even": (32, 32), "uneven": (40, 24)}


def run_kl(model: diffusers.AutoencoderKL, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    out = {}
    config = model.config
    for case, (height, width) in CASES.items():
        moments = model.encode(fill("input.image", (2, 3, height, width)).to(dtype)).latent_dist
        latents = fill("input.latents", (2, config.latent_channels, height // 8, width // 8)).to(dtype)
        out[f"{case}.encode.mean"] = moments.mean
        out[f"{case}.encode.logvar"] = moments.logvar
        out[f"{case}.decode"] = model.decode(latents / config.scaling_factor + (config.shift_factor or 0.0)).sample
    return out


def run_tiny(model: diffusers.AutoencoderTiny, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    out = {}
    for case, (height, width) in CASES.items():
        out[f"{case}.encode"] = model.encode(fill("input.image", (2, 3, height, width)).to(dtype)).latents
        # four times the unit range, so that the decoder's tanh clamp is felt
        out[f"{case}.decode"] = model.decode(4 * fill("input.latents", (2, 4, height // 8, width // 8)).to(dtype)).sample
    return out


def make() -> None:
    about = made("vae", tolerance="1e-4 of the largest magnitude: the error of float32 against float64 is in index.json")
    index = {}
    models = {name: (diffusers.AutoencoderKL(**config), run_kl) for name, config in KL.items()}
    models["tiny"] = (diffusers.AutoencoderTiny(**TAESD), run_tiny)
    for name, (model, run) in models.items():
        fill_model(model)
        total = census(model)
        folder = GOLDEN / "vae" / name
        model.save_config(folder)
        with torch.no_grad():
            outputs = run(model, torch.float32)
            exact = run(model.double(), torch.float64)
        write_tensors(folder / "expected.safetensors", outputs, about)
        errors = {key: float(f"{relative_error(value, exact[key]):.2g}") for key, value in outputs.items()}
        index[name] = {"cases": {case: list(size) for case, size in CASES.items()}, "census": total, "float32Error": errors}
    write_json(GOLDEN / "vae" / "index.json", {"models": index}, about)
