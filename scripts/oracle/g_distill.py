"""Distillation by PyTorch: students cut by hand, the loss by forward hooks in float64, its gradients, and what a cut student draws."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import torch
import torch.nn.functional as F

import diffusers

from clip_tokenizers import load_tokenizers
from families import BK_TINY, FAMILIES, ONE_LAYER, build_pipeline, build_unet, unet_sd, unet_xl
from fill import fill, fill_model
from g_pictures import draw, request
from golden import GOLDEN, made, write_json, write_tensors

# --- cutting: the renames of Nota-NetsPresso/BK-SDM (src/kd_train_text_to_image.py at e13670c), written out

#: The student's second layer of a block on the way up is the teacher's third.
LAST = re.compile(r"^(up_blocks\.\d+\.(?:resnets|attentions))\.1(?=\.|$)")


def origin(name: str, tiny: bool) -> str:
    """The teacher's name of a student tensor whose transformers keep their first blocks."""
    name = LAST.sub(r"\1.2", name)
    if tiny:  # the teacher's first block on the way up is gone
        name = re.sub(r"^up_blocks\.(\d+)", lambda m: f"up_blocks.{int(m[1]) + 1}", name)
    return name


def cut(teacher: torch.nn.Module, config: dict[str, Any], tiny: bool = False) -> diffusers.UNet2DConditionModel:
    student = diffusers.UNet2DConditionModel(**config)
    state = teacher.state_dict()
    student.load_state_dict({name: state[origin(name, tiny)] for name in student.state_dict()}, strict=True)
    return student.eval().requires_grad_(False)


CUTS: dict[str, tuple[str, dict[str, Any]]] = {
    "koala-1b": ("sdxl", unet_xl(**ONE_LAYER, transformer_layers_per_block=[1, 2, 6])),
    "koala-700m": ("sdxl", unet_xl(**ONE_LAYER, transformer_layers_per_block=[1, 2, 5], mid_block_type=None)),
    "bk-sdm-base of SDXL": ("sdxl", unet_xl(**ONE_LAYER)),
    "bk-sdm-small of SDXL": ("sdxl", unet_xl(**ONE_LAYER, mid_block_type=None)),
    "bk-sdm-base": ("sd15", unet_sd(**ONE_LAYER)),
    "bk-sdm-small": ("sd15", unet_sd(**ONE_LAYER, mid_block_type=None)),
    # channels that a tiny student can be cut from: the two coarsest levels are equally wide, as in Stable Diffusion 1
    "bk-sdm-tiny": ("sd15", unet_sd(**ONE_LAYER, **BK_TINY)),
}


def cut_map(student: torch.nn.Module, tiny: bool) -> dict[str, Any]:
    lines = sorted(
        f"{name} {'x'.join(map(str, value.shape))} {origin(name, tiny)}" for name, value in student.state_dict().items()
    )
    return {"tensors": len(lines), "sha256": hashlib.sha256("\n".join(lines).encode()).hexdigest()}


# --- the loss

TEACHER = {
    "block_out_channels": [16, 32, 48], "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"], "layers_per_block": 2,
    "transformer_layers_per_block": [1, 2, 3], "attention_head_dim": [1, 2, 3], "cross_attention_dim": 24,
    "use_linear_projection": True, "addition_embed_type": "text_time", "addition_time_embed_dim": 8,
    "projection_class_embeddings_input_dim": 20 + 48, "norm_num_groups": 8, "sample_size": 8,
}
STUDENT = TEACHER | ONE_LAYER | {"transformer_layers_per_block": [1, 2, 2]}
SHAPES = {"sample": [2, 4, 8, 8], "encoder_hidden_states": [2, 5, 24], "text_embeds": [2, 20], "noise": [2, 4, 8, 8]}
TIMESTEPS = [601, 37]
TIME_IDS = [[64, 64, 0, 0, 64, 64], [56, 72, 3, 5, 48, 80]]
WEIGHTS = {"task": 1.0, "output": 0.5, "feature": 0.25}
#: Random directions a parameter: their root mean square estimates the norm of a gradient's error.
DIRECTIONS = 8

STAGES = {"DW-1": "down_blocks.0", "DW-2": "down_blocks.1", "DW-3": "down_blocks.2", "Mid": "mid_block", "UP-1": "up_blocks.0", "UP-2": "up_blocks.1", "UP-3": "up_blocks.2"}
KINDS = {"SA": r"\.attn1$", "CA": r"\.attn2$", "FFN": r"\.ff$", "Res": r"\.resnets\.\d+$", "LF": r"^(down_blocks|up_blocks)\.\d+$|^mid_block$"}
EVERYWHERE = list(STAGES)
CASES: dict[str, dict[str, list[str]]] = {
    "koala": {"SA": ["DW-2", "DW-3", "Mid", "UP-1", "UP-2"], "LF": ["DW-1", "UP-3"]},
    "bk-sdm": {"LF": [stage for stage in EVERYWHERE if stage != "Mid"]},
    "all": {kind: EVERYWHERE for kind in KINDS},
}


def modules(student: torch.nn.Module, features: dict[str, list[str]]) -> dict[str, tuple[str, str]]:
    """Name of each of the student's modules to hook, with its kind and stage."""
    found = {}
    for name, _ in student.named_modules():
        for kind, stages in features.items():
            stage = next((s for s, path in STAGES.items() if name == path or name.startswith(f"{path}.")), None)
            if stage in stages and re.search(KINDS[kind], name):
                found[name] = (kind, stage)
    return found


def run(unet: torch.nn.Module, names: list[str]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The prediction, and what the named modules gave: of a tuple its first."""
    seen: dict[str, torch.Tensor] = {}

    def hook(name: str):
        def keep(_module, _args, output):
            seen[name] = output[0] if isinstance(output, tuple) else output

        return keep

    handles = [unet.get_submodule(name).register_forward_hook(hook(name)) for name in names]
    x = {name: fill(f"input.{name}", shape).double() for name, shape in SHAPES.items()}
    added = {"text_embeds": x["text_embeds"], "time_ids": torch.tensor(TIME_IDS, dtype=torch.float64)}
    prediction = unet(x["sample"], torch.tensor(TIMESTEPS), x["encoder_hidden_states"], added_cond_kwargs=added).sample
    for handle in handles:
        handle.remove()
    return prediction, seen


def distil(teacher: torch.nn.Module, student: torch.nn.Module, features: dict[str, list[str]]) -> tuple[dict[str, float], dict[str, torch.Tensor]]:
    """Unweighted terms, and the gradient of every parameter of the student."""
    hooked = modules(student, features)
    with torch.no_grad():
        target, theirs = run(teacher, [origin(name, False) for name in hooked])
    student.requires_grad_(True)
    prediction, own = run(student, list(hooked))
    terms: dict[str, Any] = {
        "task": F.mse_loss(prediction, fill("input.noise", SHAPES["noise"]).double()),
        "output": F.mse_loss(prediction, target),
        "feature": torch.zeros((), dtype=torch.float64),
    }
    for name, (kind, stage) in hooked.items():
        value = F.mse_loss(own[name], theirs[origin(name, False)])
        terms["feature"] = terms["feature"] + value
        key = f"feature {kind} {stage}"
        terms[key] = terms.get(key, 0) + value
        terms[f"feature {name}"] = value
    loss = sum(WEIGHTS[name] * terms[name] for name in WEIGHTS)
    names = [name for name, _ in student.named_parameters()]
    gradients = torch.autograd.grad(loss, list(student.parameters()))
    student.requires_grad_(False)
    return {name: float(value.detach()) for name, value in {"loss": loss, **terms}.items()}, dict(zip(names, gradients))


def directions(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """[DIRECTIONS, elements]: uniform in ±√3, of variance 1."""
    rows = [fill(f"input.direction.{k}.{name}", shape).double().flatten() for k in range(DIRECTIONS)]
    return 3**0.5 * torch.stack(rows)


def make_loss(about: dict[str, Any]) -> dict[str, Any]:
    teacher = fill_model(diffusers.UNet2DConditionModel(**TEACHER)).double()
    student = cut(teacher, STUDENT).double()
    tensors: dict[str, torch.Tensor] = {}
    cases: dict[str, Any] = {}
    for case, features in CASES.items():
        terms, gradients = distil(teacher, student, features)
        names = sorted(gradients)
        tensors[f"{case}.norms"] = torch.stack([gradients[name].norm() for name in names]).float()
        projections = [directions(name, tuple(gradients[name].shape)) @ gradients[name].flatten() for name in names]
        tensors[f"{case}.projections"] = torch.stack(projections).float()
        cases[case] = {"features": features, "terms": terms}
    write_tensors(GOLDEN / "distill" / "gradients.safetensors", tensors, about)
    return {
        "loss": {
            "teacher": TEACHER, "student": STUDENT, "inputs": SHAPES, "timesteps": TIMESTEPS, "timeIds": TIME_IDS,
            "weights": WEIGHTS, "parameters": names,
        },
        "cases": cases,
    }


# --- what a cut student draws

REQUESTS: dict[str, dict[str, Any]] = {
    "koala-700m": request("sdxl", 3, 5.0, {"width": 64, "height": 64}, 41),
    "bk-sdm-tiny": request("sd15", 3, 5.0, {"width": 72, "height": 56}, 42),
}


def make_pictures(about: dict[str, Any]) -> dict[str, Any]:
    tokenizers = load_tokenizers()
    pictures = {}
    with torch.no_grad():
        for rule, r in REQUESTS.items():
            pipe = build_pipeline(FAMILIES[r["family"]], *tokenizers)
            pipe.unet = cut(pipe.unet, CUTS[rule][1], tiny=rule == "bk-sdm-tiny")
            pictures[rule] = draw(pipe, r)
    write_tensors(GOLDEN / "distill" / "pictures.safetensors", pictures, about)
    return {"pictures": REQUESTS}


def make() -> None:
    about = made(
        "distill", tolerance="gradients: 1e-4 of a parameter's own norm plus 1e-6 of the norm of all, since float32 computes ours; pictures: 45 dB",
    )
    cuts = {}
    for rule, (family, config) in CUTS.items():
        tiny = rule == "bk-sdm-tiny"
        student = cut(build_unet(FAMILIES[family]), config, tiny)
        cuts[rule] = {"teacher": family, **cut_map(student, tiny)}
    value = {"cuts": cuts, **make_loss(about), **make_pictures(about)}
    write_json(GOLDEN / "distill" / "index.json", value, about, depth=3)
