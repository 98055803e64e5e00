"""Samplers: the grid of timesteps and sigmas, and every step of a trajectory under a fixed fake denoiser."""

from __future__ import annotations

import inspect
import math
from typing import Any

import diffusers
import torch

from families import TRAINED
from fill import fill
from golden import GOLDEN, made, write_json, write_tensors

#: 36 values: two blocks of sixteen and a remainder, the three ways in which torch.randn fills memory.
SHAPE = (1, 4, 3, 3)
NOISE_SEED = 1234
DENOISER = (
    "modelOutput = 0.3 * scale_model_input(sample, t) + 0.1 * sin(t / 100) * fill('input.c', [1, 4, 3, 3]), "
    "computed in float64 and rounded to float32"
)
CLIP_OFF = {"clip_sample": False}
EVERY = ["epsilon", "v_prediction", "sample"]

#: name, class, extra fields, prediction types, spacings (null: the class has none that matters)
SAMPLERS: list[tuple[str, str, dict[str, Any], list[str], list[str | None]]] = [
    ("euler", "EulerDiscreteScheduler", {}, EVERY, ["leading", "trailing", "linspace"]),
    ("euler-karras", "EulerDiscreteScheduler", {"use_karras_sigmas": True}, ["epsilon"], ["leading"]),
    ("euler-ancestral", "EulerAncestralDiscreteScheduler", {}, EVERY[:2], ["leading", "trailing", "linspace"]),
    ("ddim", "DDIMScheduler", CLIP_OFF | {"set_alpha_to_one": False}, EVERY, ["leading", "trailing", "linspace"]),
    ("ddim-alpha-one", "DDIMScheduler", CLIP_OFF | {"set_alpha_to_one": True}, ["epsilon"], ["leading"]),
    ("ddim-clip", "DDIMScheduler", {"clip_sample": True, "set_alpha_to_one": False}, ["epsilon"], ["leading"]),
    ("pndm", "PNDMScheduler", {"skip_prk_steps": True, "set_alpha_to_one": False}, EVERY[:2], ["leading", "trailing", "linspace"]),
    ("dpm++2m", "DPMSolverMultistepScheduler", {}, EVERY, ["leading", "trailing", "linspace"]),
    ("dpm++2m-karras", "DPMSolverMultistepScheduler", {"use_karras_sigmas": True}, EVERY, ["leading"]),
    ("dpm++2m-sigma-min", "DPMSolverMultistepScheduler", {"final_sigmas_type": "sigma_min"}, ["epsilon"], ["trailing"]),
    ("lcm", "LCMScheduler", CLIP_OFF | {"set_alpha_to_one": True}, EVERY, [None]),
]
STEPS = {"epsilon": [1, 4, 10, 25], "v_prediction": [4, 10], "sample": [4, 10]}


def trajectory(scheduler) -> torch.Tensor:
    """The initial sample, then the sample after each call of `step`: [calls + 1, 1, 4, 3, 3]."""
    generator = torch.Generator("cpu").manual_seed(NOISE_SEED)
    extra = {"generator": generator} if "generator" in inspect.signature(scheduler.step).parameters else {}
    c = fill("input.c", SHAPE).double()
    sample = fill("input.noise", SHAPE) * scheduler.init_noise_sigma
    rows = [sample]
    for t in scheduler.timesteps:
        x = scheduler.scale_model_input(sample, t)
        output = (0.3 * x.double() + 0.1 * math.sin(float(t) / 100) * c).float()
        sample = scheduler.step(output, t, sample, **extra).prev_sample
        rows.append(sample)
    return torch.stack(rows)


def full_config(scheduler) -> dict[str, Any]:
    """What scheduler_config.json would say, less the library's version."""
    return {"_class_name": type(scheduler).__name__} | {k: v for k, v in scheduler.config.items() if not k.startswith("_")}


def make() -> None:
    cases, tensors = [], {}
    for name, cls, fields, predictions, spacings in SAMPLERS:
        for spacing in spacings:
            for prediction in predictions:
                for steps in STEPS[prediction]:
                    config = TRAINED | fields | {"prediction_type": prediction} | ({"timestep_spacing": spacing} if spacing else {})
                    scheduler = getattr(diffusers, cls)(**config)
                    scheduler.set_timesteps(steps)
                    key = ".".join([name, *([spacing] if spacing else []), prediction, str(steps)])
                    initial_sigma = float(scheduler.init_noise_sigma)
                    tensors[key] = trajectory(scheduler)
                    sigmas = getattr(scheduler, "sigmas", None)
                    cases.append({
                        "name": key, "steps": steps, "config": full_config(scheduler),
                        "timesteps": scheduler.timesteps.tolist(),
                        **({} if sigmas is None else {"sigmas": sigmas.tolist()}),
                        "initNoiseSigma": initial_sigma, "maximum": float(tensors[key].abs().max()),
                    })
    about = made(
        "schedulers",
        seed=f"the noise of ancestral and LCM steps: one torch CPU generator of seed {NOISE_SEED}, torch.randn of [1, 4, 3, 3] a step that needs it",
        tolerance="1e-5 of the trajectory's maximum: schedulers compute in float32, with float32 tables",
        initialSample="fill('input.noise', [1, 4, 3, 3]) * initNoiseSigma", denoiser=DENOISER,
    )
    write_tensors(GOLDEN / "schedulers.safetensors", tensors, about)
    write_json(GOLDEN / "schedulers.json", {"cases": cases}, about)
