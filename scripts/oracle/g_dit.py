"""Distillation of diffusion transformers by PyTorch: students cut by hand, the loss by forward hooks in float64 with its gradients, and what a cut student draws."""

from __future__ import annotations

import re
from typing import Any

import torch
import torch.nn.functional as F
from transformers import T5Config, T5EncoderModel, T5Tokenizer

import diffusers

from families import vae
from fill import fill, fill_model
from g_distill import DIRECTIONS, WEIGHTS, directions
from g_pixart import DIT, FOLDER, MODELS, T5, draw
from golden import GOLDEN, made, write_json, write_tensors

BLOCK = re.compile(r"^transformer_blocks\.(\d+)(?=\.|$)")

#: Seven blocks, sizes told and a learned sigma as in α-1024; the student keeps some of them.
TEACHER = DIT | {"sample_size": 16, "num_layers": 7, "use_additional_conditions": True}
KEPT = {"first": [0, 1, 2, 3], "last": [3, 4, 5, 6], "interleaved": [0, 1, 3, 5]}
TOKENS = 9
SHAPES = {"sample": [2, 4, 8, 12], "encoder_hidden_states": [2, TOKENS, DIT["caption_channels"]], "noise": [2, 4, 8, 12]}
TIMESTEPS = [601, 37]
#: As a batch of the data has them: original height and width, crop, target height and width.
SIZES = [[96, 64, 0, 0, 64, 96], [70, 80, 3, 5, 64, 96]]
SEEN = [TOKENS, 4]

#: Thirds of four and of seven blocks, by hand: the student's blocks of each stage, and the last block of each on both sides.
STAGES = {"TX-1": [0, 1], "TX-2": [2], "TX-3": [3]}
LAST = {"TX-1": (1, 2), "TX-2": (2, 4), "TX-3": (3, 6)}
SUFFIX = {"SA": "attn1", "CA": "attn2", "FFN": "ff"}
CASES: dict[str, dict[str, Any]] = {
    # of a student that begins with its teacher's first blocks every SA difference is 0, and tells nothing
    "koala": {"keep": "last", "kinds": ["SA"]},
    "bk-sdm": {"keep": "first", "kinds": ["LF"]},
    "all": {"keep": "interleaved", "kinds": ["SA", "CA", "FFN", "LF"]},
}


def origin(name: str, kept: list[int]) -> str:
    return BLOCK.sub(lambda m: f"transformer_blocks.{kept[int(m[1])]}", name)


def cut(teacher: torch.nn.Module, config: dict[str, Any], kept: list[int]) -> diffusers.PixArtTransformer2DModel:
    student = diffusers.PixArtTransformer2DModel(**config | {"num_layers": len(kept)})
    state = teacher.state_dict()
    student.load_state_dict({name: state[origin(name, kept)] for name in student.state_dict()}, strict=True)
    return student.eval().requires_grad_(False)


def pairs(kinds: list[str], kept: list[int]) -> list[tuple[str, str, str, str]]:
    """Kind, stage, the student's module, the teacher's."""
    found = []
    for stage, blocks in STAGES.items():
        for kind in kinds:
            if kind == "LF":
                own, theirs = LAST[stage]
                found.append((kind, stage, f"transformer_blocks.{own}", f"transformer_blocks.{theirs}"))
                continue
            found += [
                (kind, stage, f"transformer_blocks.{l}.{SUFFIX[kind]}", f"transformer_blocks.{kept[l]}.{SUFFIX[kind]}") for l in blocks
            ]
    return found


def run(model: torch.nn.Module, names: list[str]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The noise half of the prediction, and what the named modules gave."""
    seen: dict[str, torch.Tensor] = {}

    def hook(name: str):
        def keep(_module, _args, output):
            seen[name] = output

        return keep

    handles = [model.get_submodule(name).register_forward_hook(hook(name)) for name in names]
    x = {name: fill(f"input.{name}", shape).double() for name, shape in SHAPES.items()}
    sizes = torch.tensor(SIZES, dtype=torch.float64)
    mask = (torch.arange(TOKENS)[None] < torch.tensor(SEEN)[:, None]).double()
    added = {"resolution": sizes[:, :2], "aspect_ratio": (sizes[:, 4] / sizes[:, 5])[:, None]}
    said = model(
        x["sample"], encoder_hidden_states=x["encoder_hidden_states"], timestep=torch.tensor(TIMESTEPS),
        encoder_attention_mask=mask, added_cond_kwargs=added,
    ).sample
    for handle in handles:
        handle.remove()
    return said.chunk(2, dim=1)[0], seen


def distil(teacher: torch.nn.Module, case: dict[str, Any]) -> tuple[dict[str, float], dict[str, torch.Tensor]]:
    """Unweighted terms, and the gradient of every parameter of the student."""
    kept = KEPT[case["keep"]]
    student = cut(teacher, TEACHER, kept).double()
    compared = pairs(case["kinds"], kept)
    with torch.no_grad():
        target, theirs = run(teacher, sorted({name for *_, name in compared}))
    student.requires_grad_(True)
    prediction, own = run(student, sorted({name for _, _, name, _ in compared}))
    terms: dict[str, Any] = {
        "task": F.mse_loss(prediction, fill("input.noise", SHAPES["noise"]).double()),
        "output": F.mse_loss(prediction, target),
        "feature": torch.zeros((), dtype=torch.float64),
    }
    for kind, stage, name, other in compared:
        value = F.mse_loss(own[name], theirs[other])
        terms["feature"] = terms["feature"] + value
        key = f"feature {kind} {stage}"
        terms[key] = terms.get(key, 0) + value
    loss = sum(WEIGHTS[name] * terms[name] for name in WEIGHTS)
    names = [name for name, _ in student.named_parameters()]
    gradients = torch.autograd.grad(loss, list(student.parameters()))
    return {name: float(value.detach()) for name, value in {"loss": loss, **terms}.items()}, dict(zip(names, gradients))


#: What students of the tiny folders of `pixart` draw: rule, blocks kept by it, request.
PICTURES: dict[str, dict[str, Any]] = {
    "alpha": {"rule": "pixart-2", "keep": "last", "kept": [1, 2], "steps": 3, "guidance": 4.5, "width": 64, "height": 48, "seed": 51},
    "sigma": {"rule": "pixart-2", "keep": "interleaved", "kept": [0, 1], "steps": 3, "guidance": 3.0, "width": 48, "height": 64, "seed": 52},
}


def make_pictures(about: dict[str, Any]) -> None:
    text = fill_model(T5EncoderModel(T5Config(**T5)))
    pictures = {}
    with torch.no_grad():
        text.shared.weight.copy_(fill("shared.weight", text.shared.weight.shape))
        for name, r in PICTURES.items():
            spec = MODELS[name]
            teacher = fill_model(diffusers.PixArtTransformer2DModel(**spec["transformer"]))
            pipe = getattr(diffusers, spec["pipeline"])(
                transformer=cut(teacher, spec["transformer"], r["kept"]), text_encoder=text,
                tokenizer=T5Tokenizer.from_pretrained(FOLDER / "tokenizer"),
                vae=fill_model(diffusers.AutoencoderKL(**vae(layers_per_block=2, scaling_factor=spec["scaling"]))),
                scheduler=diffusers.DPMSolverMultistepScheduler(),
            )
            pipe.set_progress_bar_config(disable=True)
            pictures[name] = draw(pipe, r)
    write_tensors(GOLDEN / "dit" / "pictures.safetensors", pictures, about)


def make() -> None:
    about = made(
        "dit", tolerance="gradients: 1e-4 of a parameter's own norm plus 1e-6 of the norm of all, since float32 computes ours; pictures: 45 dB",
    )
    teacher = fill_model(diffusers.PixArtTransformer2DModel(**TEACHER)).double()
    tensors: dict[str, torch.Tensor] = {}
    cases: dict[str, Any] = {}
    for case, spec in CASES.items():
        terms, gradients = distil(teacher, spec)
        names = sorted(gradients)
        tensors[f"{case}.norms"] = torch.stack([gradients[name].norm() for name in names]).float()
        projections = [directions(name, tuple(gradients[name].shape)) @ gradients[name].flatten() for name in names]
        tensors[f"{case}.projections"] = torch.stack(projections).float()
        cases[case] = {**spec, "kept": KEPT[spec["keep"]], "pairs": [list(pair) for pair in pairs(spec["kinds"], KEPT[spec["keep"]])], "terms": terms}
    write_tensors(GOLDEN / "dit" / "gradients.safetensors", tensors, about)
    make_pictures(about)
    value = {
        "loss": {
            "teacher": TEACHER, "inputs": SHAPES, "timesteps": TIMESTEPS, "sizes": SIZES, "seen": SEEN, "weights": WEIGHTS,
            "directions": DIRECTIONS, "parameters": names,
        },
        "cases": cases, "pictures": PICTURES,
    }
    write_json(GOLDEN / "dit" / "index.json", value, about, depth=2)
