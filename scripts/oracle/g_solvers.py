"""Samplers beyond the group schedulers: more solvers, lists of timesteps, levels by other curves, and fresh noise (η)."""

from __future__ import annotations

import math
from typing import Any

import diffusers
import torch

from families import TRAINED
from fill import fill
from g_schedulers import CLIP_OFF, DENOISER, EVERY, NOISE_SEED, SHAPE, full_config
from golden import GOLDEN, made, write_json, write_tensors

DPM, UNIPC, HEUN, TCD = "DPMSolverMultistepScheduler", "UniPCMultistepScheduler", "HeunDiscreteScheduler", "TCDScheduler"
EULER, DDIM, LCM = "EulerDiscreteScheduler", "DDIMScheduler", "LCMScheduler"
KARRAS, EXPONENTIAL, LU = {"use_karras_sigmas": True}, {"use_exponential_sigmas": True}, {"use_lu_lambdas": True}
BETA = {"use_beta_sigmas": True}
SDE, THIRD, LEAST = {"algorithm_type": "sde-dpmsolver++"}, {"solver_order": 3}, {"final_sigmas_type": "sigma_min"}
EPSILON, LEADING, TRAILING = ["epsilon"], ["leading"], ["trailing"]
#: "Align your steps" for SDXL (arXiv:2404.14507), and Hyper-SD's one step (its model card).
ALIGNED, ONE = [999, 845, 730, 587, 443, 310, 193, 116, 53, 13], [800]

#: name, class, extra fields, prediction types, spacings, counts or lists of steps, η of each step (None: the class has none)
SOLVERS: list[tuple[str, str, dict[str, Any], list[str], list[str], list[int | list[int]], float | None]] = [
    ("dpm++2m-heun", DPM, {"solver_type": "heun"}, EPSILON, LEADING, [4, 20], None),
    ("dpm++2m-exponential", DPM, EXPONENTIAL, EPSILON, LEADING, [10], None),
    ("dpm++2m-beta", DPM, BETA, EPSILON, LEADING, [10], None),
    ("dpm++2m-lu", DPM, LU, EPSILON, LEADING, [10], None),
    ("dpm++2m-timesteps", DPM, {}, EPSILON, LEADING, [ALIGNED, ONE], None),
    ("dpm++2m-sde", DPM, SDE, EVERY, TRAILING, [1, 4, 20], None),
    ("dpm++2m-sde-heun", DPM, SDE | {"solver_type": "heun"}, EPSILON, LEADING, [10], None),
    ("dpm++2m-sde-karras", DPM, SDE | KARRAS, EPSILON, LEADING, [10, 20], None),
    ("dpm++2m-sde-euler-at-final", DPM, SDE | LEAST | {"euler_at_final": True}, EPSILON, LEADING, [20], None),
    ("dpm++3m", DPM, THIRD, EVERY, LEADING, [2, 4, 20], None),
    ("dpm++3m-karras", DPM, THIRD | KARRAS, EPSILON, LEADING, [10], None),
    ("dpm++3m-sigma-min", DPM, THIRD | LEAST | {"lower_order_final": False}, EPSILON, TRAILING, [10], None),
    ("unipc", UNIPC, {}, EVERY, LEADING, [1, 4, 20], None),
    ("unipc", UNIPC, {}, EPSILON, ["trailing", "linspace"], [4], None),
    ("unipc-karras", UNIPC, KARRAS, EPSILON, LEADING, [10], None),
    ("unipc-exponential", UNIPC, EXPONENTIAL, EPSILON, LEADING, [10], None),
    ("unipc-beta", UNIPC, BETA, EPSILON, LEADING, [10], None),
    ("unipc-third", UNIPC, THIRD, EPSILON, LEADING, [10], None),
    ("unipc-first", UNIPC, {"solver_order": 1}, EPSILON, LEADING, [10], None),
    ("unipc-bh1", UNIPC, LEAST | {"solver_type": "bh1"}, EPSILON, LEADING, [10], None),
    ("unipc-no-corrector", UNIPC, {"disable_corrector": [0, 2]}, EPSILON, LEADING, [10], None),
    ("unipc-sigma-min", UNIPC, LEAST | {"lower_order_final": False}, EPSILON, LEADING, [10], None),
    ("heun", HEUN, {}, EVERY, LEADING, [1, 4, 10], None),
    ("heun", HEUN, {}, EPSILON, ["trailing", "linspace"], [4], None),
    ("heun-karras", HEUN, KARRAS, EPSILON, LEADING, [10], None),
    ("heun-beta", HEUN, BETA, EPSILON, LEADING, [10], None),
    ("heun-timesteps", HEUN, {}, EPSILON, LEADING, [ALIGNED], None),
    ("euler-exponential", EULER, EXPONENTIAL, EPSILON, LEADING, [10], None),
    ("euler-beta", EULER, BETA, EPSILON, LEADING, [10], None),
    ("euler-timesteps", EULER, {}, EPSILON, ["leading", "trailing"], [ALIGNED, ONE], None),
    ("lcm-timesteps", LCM, CLIP_OFF, EPSILON, TRAILING, [[999, 749, 499, 249], ONE], None),
    ("tcd", TCD, {}, EVERY, TRAILING, [1, 4, 8], 0.3),
    ("tcd-plain", TCD, {}, EPSILON, TRAILING, [4], 0.0),
    ("tcd-fresh", TCD, {}, EPSILON, TRAILING, [4], 1.0),
    ("tcd-timesteps", TCD, {}, EPSILON, TRAILING, [[999, 749, 499, 249], ONE], 0.3),
    ("ddim-eta", DDIM, CLIP_OFF | {"set_alpha_to_one": False}, EVERY, LEADING, [4, 10], 0.5),
    ("ddim-ancestral", DDIM, CLIP_OFF, EPSILON, TRAILING, [10], 1.0),
    # not η = 1: what is left of the old noise is then a float32 rounding in diffusers, and its root 1e-4
    ("ddim-eta-zero-snr", DDIM, CLIP_OFF | {"rescale_betas_zero_snr": True}, ["v_prediction"], TRAILING, [10], 0.5),
]


def trajectory(scheduler, eta: float | None) -> tuple[torch.Tensor, list[int]]:
    """The initial sample and the sample after each step, [steps + 1, 1, 4, 3, 3]; and at which calls steps begin: Heun's take two."""
    extra: dict[str, Any] = {} if eta is None else {"eta": eta}
    if not isinstance(scheduler, (diffusers.UniPCMultistepScheduler, diffusers.HeunDiscreteScheduler)):
        extra["generator"] = torch.Generator("cpu").manual_seed(NOISE_SEED)
    c = fill("input.c", SHAPE).double()
    sample = fill("input.noise", SHAPE) * scheduler.init_noise_sigma
    rows, begins = [], []
    for call, t in enumerate(scheduler.timesteps):
        if getattr(scheduler, "state_in_first_order", True):
            begins.append(call)
            rows.append(sample)
        x = scheduler.scale_model_input(sample, t)
        output = (0.3 * x.double() + 0.1 * math.sin(float(t) / 100) * c).float()
        sample = scheduler.step(output, t, sample, **extra).prev_sample
    return torch.stack([*rows, sample]), begins


def make() -> None:
    cases, tensors = [], {}
    for name, cls, fields, predictions, spacings, steps, eta in SOLVERS:
        for spacing in spacings:
            for prediction in predictions:
                for chosen in steps:
                    extra = {} if cls in (LCM, TCD) else {"timestep_spacing": spacing}
                    scheduler = getattr(diffusers, cls)(**(TRAINED | fields | {"prediction_type": prediction} | extra))
                    scheduler.set_timesteps(**({"timesteps": chosen} if isinstance(chosen, list) else {"num_inference_steps": chosen}))
                    key = ".".join([name, spacing, prediction, str(len(chosen)) + "t" if isinstance(chosen, list) else str(chosen)])
                    initial_sigma = float(scheduler.init_noise_sigma)
                    tensors[key], begins = trajectory(scheduler, eta)
                    cases.append({
                        "name": key, "steps": chosen, "config": full_config(scheduler) | ({} if eta is None else {"eta": eta}),
                        "timesteps": [scheduler.timesteps.tolist()[call] for call in begins],
                        "initNoiseSigma": initial_sigma, "maximum": float(tensors[key].abs().max()),
                    })
    about = made(
        "solvers",
        seed=f"fresh noise: one torch CPU generator of seed {NOISE_SEED}, torch.randn of [1, 4, 3, 3] a step that needs it",
        tolerance="1e-5 of the trajectory's maximum: schedulers compute in float32, with float32 tables",
        initialSample="fill('input.noise', [1, 4, 3, 3]) * initNoiseSigma", denoiser=DENOISER,
    )
    write_tensors(GOLDEN / "solvers.safetensors", tensors, about)
    write_json(GOLDEN / "solvers.json", {"cases": cases}, about)
