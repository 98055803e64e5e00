"""Gradients of every parameter of a U-Net, an autoencoder and a text tower in float64; and 50 steps of three optimizers."""

from __future__ import annotations

import math
import unittest.mock
from typing import Callable

import diffusers
import torch
from diffusers.training_utils import EMAModel
from transformers.optimization import Adafactor

from families import FAMILIES, OPENCLIP_G, VAE_SD, build_text, build_unet
from fill import fill, fill_model
from g_families import TIME_IDS, TOKENS
from g_text import token_ids
from golden import GOLDEN, made, write_json

FAMILY = "koala-700m"
PROJECTIONS = 4
TIMESTEPS = [37, 601]
WEIGHTS = [0.7, 1.3]
#: The curve: this many steps over this many batches in turn.
STEPS, BATCHES = 50, 5
DECAY, CLIP, EMA_CAP = 1e-2, 1.0, 0.9999
#: Where 50 steps in float32 stay within 1e-3 of float64: gradients that are zero in theory are noise that both normalise.
RATES = {"adamW": 1e-3, "adafactor": 1e-4, "muon": 5e-4}
#: Parameters of which the average is compared after the last step.
WATCHED = ["conv_in.weight", "time_embedding.linear_1.weight", "down_blocks.1.attentions.0.transformer_blocks.1.attn1.to_q.weight", "conv_norm_out.weight"]


def projections(name: str, value: torch.Tensor) -> list[float]:
    """Dot products with PROJECTIONS tensors of unit variance: the mean square of an error's is its squared norm."""
    value = value.detach().double()
    rows = [math.sqrt(3) * float((value * fill(f"input.projection.{k}.{name}", value.shape).double()).sum()) for k in range(PROJECTIONS)]
    return [float(f"{x:.10g}") for x in rows]


def gradients(model: torch.nn.Module, loss: Callable[[], torch.Tensor], prefix: str = "") -> dict:
    model.double().requires_grad_(True)
    value = loss()
    value.backward()
    rows = {}
    for name, parameter in model.named_parameters():
        bare = prefix and not name.startswith((prefix, "text_projection"))
        full = f"{prefix}{name}" if bare else name
        rows[full] = [float(f"{float(parameter.grad.norm()):.10g}"), *projections(full, parameter.grad)]
    return {"loss": float(value.detach()), "parameters": rows}


def unet_inputs(dtype: torch.dtype, index: int = 0) -> dict:
    family = FAMILIES[FAMILY]
    draw = lambda name, *shape: fill(f"input.{name}.{index}", shape).to(dtype)
    return {
        "sample": draw("sample", 2, 4, 8, 8), "text": draw("text", 2, TOKENS, family.unet["cross_attention_dim"]),
        "pooled": draw("pooled", 2, family.text_encoder_2["projection_dim"]), "target": draw("target", 2, 4, 8, 8),
    }


def unet_loss(unet: torch.nn.Module, dtype: torch.dtype, index: int = 0) -> torch.Tensor:
    x = unet_inputs(dtype, index)
    added = {"text_embeds": x["pooled"], "time_ids": torch.tensor(TIME_IDS, dtype=dtype)}
    out = unet(x["sample"], torch.tensor(TIMESTEPS), x["text"], added_cond_kwargs=added).sample
    each = ((out - x["target"]) ** 2).mean(dim=(1, 2, 3))
    return (each * torch.tensor(WEIGHTS, dtype=dtype)).mean()


def vae_loss(vae: diffusers.AutoencoderKL) -> torch.Tensor:
    image = fill("input.image", (2, 3, 16, 16)).double()
    noise = fill("input.noise", (2, 4, 2, 2)).double()
    latents = vae.encode(image).latent_dist
    out = vae.decode(latents.mean + torch.exp(0.5 * latents.logvar) * noise).sample
    kl = 0.5 * (latents.mean**2 + torch.exp(latents.logvar) - 1 - latents.logvar).mean()
    return ((out - image) ** 2).mean() + 0.01 * kl


def text_loss(model: torch.nn.Module) -> torch.Tensor:
    out = model(torch.tensor(token_ids()))
    states = fill("input.states", out.last_hidden_state.shape).double()
    vector = fill("input.vector", out.text_embeds.shape).double()
    return (out.last_hidden_state * states).mean() + (out.text_embeds * vector).mean()


class Muon:
    """PyTorch's, which takes matrices alone, over convolutions as matrices; AdamW for what is no layer between hidden values."""

    def __init__(self, parameters: list[torch.nn.Parameter], rate: float) -> None:
        self.hidden = [p for p in parameters if p.dim() >= 2 and min(p.shape[:2]) >= 16 and max(p.shape[:2]) <= 16 * min(p.shape[:2])]
        taken = {id(p) for p in self.hidden}
        self.matrices = [torch.nn.Parameter(p.data.view(p.shape[0], -1)) for p in self.hidden]
        self.muon = torch.optim.Muon(self.matrices, lr=rate, weight_decay=DECAY, adjust_lr_fn="match_rms_adamw")
        self.adam = torch.optim.AdamW([p for p in parameters if id(p) not in taken], lr=rate, weight_decay=DECAY)

    def zero_grad(self) -> None:
        for p in self.hidden:
            p.grad = None
        self.adam.zero_grad()

    def step(self) -> None:
        for p, matrix in zip(self.hidden, self.matrices):
            matrix.grad = p.grad.view(matrix.shape)
        # it makes matrices orthogonal in bfloat16, which ours does in float32
        with unittest.mock.patch.object(torch.Tensor, "bfloat16", lambda x: x.clone()):
            self.muon.step()
        self.adam.step()


def curve(optimizer: str, dtype: torch.dtype) -> dict:
    unet = build_unet(FAMILIES[FAMILY]).to(dtype).requires_grad_(True)
    if optimizer == "adamW":
        own = torch.optim.AdamW(unet.parameters(), lr=RATES[optimizer], weight_decay=DECAY)
    elif optimizer == "muon":
        own = Muon(list(unet.parameters()), RATES[optimizer])
    else:
        own = Adafactor(unet.parameters(), lr=RATES[optimizer], weight_decay=DECAY, relative_step=False, scale_parameter=False, warmup_init=False)
    ema = EMAModel(unet.parameters(), decay=EMA_CAP)
    losses, norms = [], []
    for step in range(STEPS):
        loss = unet_loss(unet, dtype, step % BATCHES)
        own.zero_grad()
        loss.backward()
        norms.append(float(torch.nn.utils.clip_grad_norm_(unet.parameters(), CLIP)))
        own.step()
        ema.step(unet.parameters())
        losses.append(float(loss.detach()))
    names = [name for name, _ in unet.named_parameters()]
    averages = dict(zip(names, ema.shadow_params))
    watched = {name: [float(averages[name].norm()), *projections(name, averages[name])] for name in WATCHED}
    return {"losses": losses, "norms": norms, "averages": watched}


def make() -> None:
    about = made("training", tolerance="gradients 1e-4 of each norm and 1e-6 of that of all: float32 sums; curves 1e-3: 50 steps of such sums")
    vae = fill_model(diffusers.AutoencoderKL(**VAE_SD))
    text = build_text(OPENCLIP_G, projection=True)
    unet = build_unet(FAMILIES[FAMILY])
    cases = {
        "unet": gradients(unet, lambda: unet_loss(unet, torch.float64)),
        "vae": gradients(vae, lambda: vae_loss(vae)),
        "text": gradients(text, lambda: text_loss(text), "text_model."),
    }
    curves = {}
    for optimizer in RATES:
        exact = curve(optimizer, torch.float64)
        single = curve(optimizer, torch.float32)
        error = max(abs(a - b) / a for a, b in zip(exact["losses"], single["losses"]))
        curves[optimizer] = exact | {"float32Error": float(f"{error:.2g}")}
    settings = {
        "family": FAMILY, "tokens": TOKENS, "timesteps": TIMESTEPS, "weights": WEIGHTS, "timeIds": TIME_IDS, "inputIds": token_ids(),
        "steps": STEPS, "batches": BATCHES, "rates": RATES, "weightDecay": DECAY, "maxNorm": CLIP, "emaCap": EMA_CAP,
    }
    write_json(GOLDEN / "training.json", {"settings": settings, "gradients": cases, "curves": curves}, about, depth=4)
