"""The tiny diffusers folders (configs only) and the U-Net output of each family."""

from __future__ import annotations

import torch

import diffusers

from families import FAMILIES, Family, build_pipeline
from fill import fill
from golden import GOLDEN, census, made, relative_error, write_json, write_tensors
from clip_tokenizers import load_tokenizers

#: Text tokens that the U-Net sees in these cases: not the context length, so that nothing assumes it.
TOKENS = 9

#: Latents [2, 4, h, w] with one timestep a picture. 7 x 9 does not divide at any level.
CASES = {
    "even": {"height": 8, "width": 8, "timesteps": [601, 601]},
    "uneven": {"height": 7, "width": 9, "timesteps": [37, 37]},
    "mixed": {"height": 10, "width": 8, "timesteps": [981, 3]},
}
TIME_IDS = [[64, 64, 0, 0, 64, 64], [56, 72, 3, 5, 48, 80]]


def inputs(family: Family, case: dict) -> dict[str, list[int]]:
    """Names and shapes of what `fill` gives."""
    shapes = {"sample": [2, 4, case["height"], case["width"]], "encoder_hidden_states": [2, TOKENS, family.unet["cross_attention_dim"]]}
    if family.text_encoder_2 is not None:
        shapes["text_embeds"] = [2, family.text_encoder_2["projection_dim"]]
    if family.unet.get("time_cond_proj_dim"):
        shapes["timestep_cond"] = [2, family.unet["time_cond_proj_dim"]]
    return shapes


def run_unet(unet: torch.nn.Module, family: Family, case: dict, dtype: torch.dtype) -> torch.Tensor:
    x = {name: fill(f"input.{name}", shape).to(dtype) for name, shape in inputs(family, case).items()}
    added = {"text_embeds": x["text_embeds"], "time_ids": torch.tensor(TIME_IDS, dtype=dtype)} if "text_embeds" in x else None
    return unet(
        x["sample"], torch.tensor(case["timesteps"]), x["encoder_hidden_states"],
        timestep_cond=x.get("timestep_cond"), added_cond_kwargs=added,
    ).sample


def write_configs(folder, pipe: diffusers.DiffusionPipeline) -> None:
    """What `save_pretrained` writes, less weights and tokenizer files."""
    pipe.save_config(folder)
    for name in ("unet", "vae", "scheduler"):
        getattr(pipe, name).save_config(folder / name)
    for name in ("text_encoder", "text_encoder_2"):
        model = getattr(pipe, name, None)
        if model is not None:
            model.config.architectures = [type(model).__name__]
            model.config.save_pretrained(folder / name)


def make() -> None:
    tokenizers = load_tokenizers()
    index = {}
    about = made("families", tolerance="1e-4 of the largest magnitude: the error of float32 against float64 is in index.json")
    for name, family in FAMILIES.items():
        pipe = build_pipeline(family, *tokenizers)
        folder = GOLDEN / "families" / name
        write_configs(folder, pipe)
        outputs = {case: run_unet(pipe.unet, family, spec, torch.float32) for case, spec in CASES.items()}
        components = {key: census(value) for key, value in pipe.components.items() if isinstance(value, torch.nn.Module)}
        exact = pipe.unet.double()
        errors = {case: relative_error(outputs[case], run_unet(exact, family, CASES[case], torch.float64)) for case in CASES}
        write_tensors(folder / "expected.safetensors", outputs, about)
        index[name] = {
            "cases": {case: spec | {"inputs": inputs(family, spec)} | ({"timeIds": TIME_IDS} if family.text_encoder_2 else {}) for case, spec in CASES.items()},
            "census": components,
            "float32Error": {case: float(f"{error:.2g}") for case, error in errors.items()},
        }
    write_json(GOLDEN / "families" / "index.json", {"families": index}, about)
