"""Gradients of every parameter of an autoencoder in float64, for the loss that it is trained with: values, edges, divergence."""

from __future__ import annotations

import diffusers
import torch
from torch.nn.functional import avg_pool2d

from families import VAE_SD
from fill import fill, fill_model
from g_training import gradients
from golden import GOLDEN, made, write_json

SIZE = 32
LEVELS = 4
FACTORS = {"l1": 0.8, "l2": 0.6, "edges": 1.3, "kl": 0.02}


def edges(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Differences of the gradients of two pictures, each picture's pyramid on its own."""
    parts = []
    for level in range(LEVELS):
        if level > 0:
            x, y = avg_pool2d(x, 2), avg_pool2d(y, 2)
        for axis in (2, 3):
            parts.append((x.diff(dim=axis) - y.diff(dim=axis)).abs().mean())
    return torch.stack(parts).mean()


def terms(vae: diffusers.AutoencoderKL) -> dict[str, torch.Tensor]:
    picture = fill("input.picture", (2, 3, SIZE, SIZE)).double()
    noise = fill("input.noise", (2, 4, SIZE // 8, SIZE // 8)).double()
    latents = vae.encode(picture).latent_dist
    out = vae.decode(latents.mean + latents.std * noise).sample
    error = ((out - picture) ** 2).mean(dim=(1, 2, 3))
    kl = 0.5 * (latents.mean**2 + latents.var - 1 - latents.logvar).mean()
    return {"l1": (out - picture).abs().mean(), "l2": error.mean(), "edges": edges(out, picture), "kl": kl, "psnr": (10 * torch.log10(4 / error)).mean()}


def make() -> None:
    about = made("autoencoder", tolerance="1e-4 of each norm and 1e-6 of that of all: float32 sums")
    vae = fill_model(diffusers.AutoencoderKL(**VAE_SD))
    result = gradients(vae, lambda: sum(FACTORS[name] * value for name, value in terms(vae).items() if name in FACTORS))
    with torch.no_grad():
        values = {name: float(f"{float(value):.10g}") for name, value in terms(vae).items()}
    write_json(GOLDEN / "autoencoder.json", {"size": SIZE, "factors": FACTORS, "terms": values, **result}, about, depth=2)
