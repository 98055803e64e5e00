"""Losses of PCM and LCM, and their gradients by student and discriminator, in float64 by PyTorch: every formula written out."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

import diffusers

from fill import fill, fill_model
from g_distill import DIRECTIONS, SHAPES, STUDENT, TEACHER, TIME_IDS, cut, directions
from golden import GOLDEN, made, write_json, write_tensors

SCHEDULE = {"num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
#: Of LCM's judge: the student's weights times this stand for their moving average.
AVERAGE = 0.9
HUBER_C = 0.001
GUIDANCE = [6.25, 6.75]

CASES: dict[str, dict[str, Any]] = {
    # place 10 begins a phase: its target is the teacher's step itself
    "pcm": {"method": "pcm", "prediction": "epsilon", "loss": "huber", "grid": 40, "phases": 4, "indices": [27, 10]},
    "pcm adversarial": {"method": "pcm", "prediction": "epsilon", "loss": "huber", "grid": 40, "phases": 4, "indices": [27, 13], "adversary": 0.1, "critic": [601, 420]},
    "pcm v": {"method": "pcm", "prediction": "v_prediction", "loss": "l2", "grid": 50, "phases": 3, "indices": [44, 5]},
    "lcm": {"method": "lcm", "prediction": "epsilon", "loss": "huber", "grid": 50, "phases": 1, "indices": [31, 0]},
}


class Head(nn.Module):
    def __init__(self, channels: int, groups: int):
        super().__init__()
        self.conv1 = nn.Sequential(nn.Conv2d(channels, channels, 1), nn.GroupNorm(groups, channels), nn.LeakyReLU())
        self.conv2 = nn.Sequential(nn.Conv2d(channels, channels, 1), nn.GroupNorm(groups, channels), nn.LeakyReLU())
        self.conv_out = nn.Conv2d(channels, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv1(x)
        return self.conv_out(self.conv2(x) + x)


class Discriminator(nn.Module):
    """Heads on what a frozen U-Net has after each block on the way down, and after the middle."""

    def __init__(self, unet: diffusers.UNet2DConditionModel):
        super().__init__()
        self.frozen = [unet]  # a list, so that its weights are not this module's
        widths = [*unet.config.block_out_channels, unet.config.block_out_channels[-1]]
        self.heads = nn.ModuleList([nn.ModuleList([Head(c, unet.config.norm_num_groups)]) for c in widths])

    def forward(self, z: torch.Tensor, t: torch.Tensor, told: dict[str, Any]) -> list[torch.Tensor]:
        unet, seen = self.frozen[0], []

        def keep(_module, _args, output):
            seen.append(output[0] if isinstance(output, tuple) else output)

        handles = [block.register_forward_hook(keep) for block in [*unet.down_blocks, unet.mid_block]]
        unet(z, t, **told)
        for handle in handles:
            handle.remove()
        return [head[0](x) for head, x in zip(self.heads, seen)]


def column(x: torch.Tensor) -> torch.Tensor:
    return x.reshape(-1, 1, 1, 1)


def estimates(kind: str, out: torch.Tensor, z: torch.Tensor, alpha: torch.Tensor, sigma: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The picture and the noise in z."""
    if kind == "epsilon":
        return (z - sigma * out) / alpha, out
    return alpha * z - sigma * out, alpha * out + sigma * z


def run(case: dict[str, Any], teacher: Any, student: Any, discriminator: Discriminator) -> dict[str, Any]:
    abar = diffusers.DDPMScheduler(**SCHEDULE).alphas_cumprod.double()
    level = lambda t: (column(abar[t].sqrt()), column((1 - abar[t]).sqrt()))
    N, K, index = case["grid"], case["phases"], torch.tensor(case["indices"])
    grid = torch.arange(1, N + 1) * (1000 // N) - 1
    before = torch.cat([torch.zeros(1, dtype=torch.long), grid[:-1]])
    starts = torch.tensor([math.floor(i * N / K) for i in range(K)])
    start, nxt = grid[index], before[index]
    end = before[torch.stack([starts[starts <= i].max() for i in index])]

    x = {name: fill(f"input.{name}", shape).double() for name, shape in SHAPES.items()}
    none = {name: fill(f"input.no.{name}", SHAPES[name]).double() for name in ("encoder_hidden_states", "text_embeds")}
    ids = torch.tensor(TIME_IDS, dtype=torch.float64)
    told = lambda d: {"encoder_hidden_states": d["encoder_hidden_states"], "added_cond_kwargs": {"text_embeds": d["text_embeds"], "time_ids": ids}}
    alpha, sigma = level(start)
    z = alpha * x["sample"] + sigma * x["noise"]
    w = column(torch.tensor(GUIDANCE, dtype=torch.float64))
    kind = case["prediction"]

    def answer(unet: Any, sample: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        out = unet(sample, t, **told(x)).sample
        clean, noise = estimates(kind, out, sample, *level(t))
        if case["method"] == "lcm":
            scaled = column(10 * t.double())
            c_skip, c_out = 0.25 / (scaled**2 + 0.25), scaled / (scaled**2 + 0.25).sqrt()
            return c_skip * sample + c_out * clean
        a, s = level(end)
        return a * clean + s * noise

    with torch.no_grad():
        out_c, out_u = teacher(z, start, **told(x)).sample, teacher(z, start, **told(none)).sample
        (clean_c, noise_c), (clean_u, noise_u) = estimates(kind, out_c, z, alpha, sigma), estimates(kind, out_u, z, alpha, sigma)
        a, s = level(nxt)
        further = a * (clean_c + w * (clean_c - clean_u)) + s * (noise_c + w * (noise_c - noise_u))
        judge = student
        if case["method"] == "lcm":
            judge = copy.deepcopy(student)
            for p in judge.parameters():
                p.mul_(AVERAGE)
        target = answer(judge, further, nxt)
        if case["method"] == "pcm":  # at a phase's beginning the step has arrived
            target = torch.where(column(nxt == end), further, target)

    student.requires_grad_(True)
    predicted = answer(student, z, start)
    terms: dict[str, torch.Tensor] = {}
    if case["loss"] == "huber":
        terms["consistency"] = (((predicted - target) ** 2 + HUBER_C**2).sqrt() - HUBER_C).mean()
    else:
        terms["consistency"] = F.mse_loss(predicted, target)
    loss, out = terms["consistency"], {}
    if "adversary" in case:
        later = torch.tensor(case["critic"])
        ratio = abar[later] / abar[end]
        travel = lambda v, name: column(ratio.sqrt()) * v + column((1 - ratio).sqrt()) * fill(f"input.noise.{name}", SHAPES["sample"]).double()
        fake, real = travel(predicted, "fake"), travel(target, "real")
        scores = discriminator(fake, later, told(x))
        terms["adversarial"] = sum(F.relu(1 - f).mean() for f in scores) / len(scores)
        loss = loss + case["adversary"] * terms["adversarial"]
        discriminator.requires_grad_(True)
        pairs = list(zip(discriminator(fake.detach(), later, told(x)), discriminator(real, later, told(x))))
        terms["discriminator"] = sum(F.relu(1 + f).mean() + F.relu(1 - r).mean() for f, r in pairs) / len(pairs)
        names = [name for name, _ in discriminator.named_parameters()]
        out["discriminator"] = dict(zip(names, torch.autograd.grad(terms["discriminator"], list(discriminator.parameters()))))
        discriminator.requires_grad_(False)
    names = [name for name, _ in student.named_parameters()]
    out["student"] = dict(zip(names, torch.autograd.grad(loss, list(student.parameters()))))
    student.requires_grad_(False)
    facts = {"start": start.tolist(), "next": nxt.tolist(), "end": end.tolist()}
    return {"facts": facts, "terms": {name: float(value.detach()) for name, value in terms.items()}, "gradients": out}


def make() -> None:
    about = made("consistency", tolerance="gradients: 1e-4 of a parameter's own norm plus 1e-6 of the norm of all, since float32 computes ours")
    teacher = fill_model(diffusers.UNet2DConditionModel(**TEACHER)).double().eval().requires_grad_(False)
    student = cut(teacher, STUDENT).double()
    discriminator = fill_model(Discriminator(teacher)).double().requires_grad_(False)
    tensors: dict[str, torch.Tensor] = {}
    cases: dict[str, Any] = {}
    parameters: dict[str, list[str]] = {}
    for name, case in CASES.items():
        made_of = run(case, teacher, student, discriminator)
        for side, gradients in made_of["gradients"].items():
            parameters[side] = sorted(gradients)
            tensors[f"{name}.{side}.norms"] = torch.stack([gradients[n].norm() for n in parameters[side]]).float()
            rows = [directions(n, tuple(gradients[n].shape)) @ gradients[n].flatten() for n in parameters[side]]
            tensors[f"{name}.{side}.projections"] = torch.stack(rows).float()
        cases[name] = {**case, **made_of["facts"], "terms": made_of["terms"]}
    write_tensors(GOLDEN / "consistency" / "gradients.safetensors", tensors, about)
    value = {
        "teacher": TEACHER, "student": STUDENT, "inputs": SHAPES, "timeIds": TIME_IDS, "schedule": SCHEDULE, "guidance": GUIDANCE,
        "average": AVERAGE, "huberC": HUBER_C, "directions": DIRECTIONS, "parameters": parameters, "cases": cases,
    }
    write_json(GOLDEN / "consistency" / "index.json", value, about, depth=3)
