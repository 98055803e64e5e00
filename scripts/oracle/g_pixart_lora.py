"""Low-rank adapters of PixArt's transformers by PEFT: what the transformer says with them, and what their matrices are called."""

from __future__ import annotations

import diffusers
import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.utils import get_peft_model_state_dict, set_peft_model_state_dict

from fill import fill, fill_model
from g_pixart import CASES, MODELS, transformer_case
from golden import GOLDEN, made, relative_error, write_json, write_tensors

RANK = 2
MODULES = ["to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2"]
#: diffusers' prefix of a transformer's layers in a file, as its mixins for other transformers write it.
PREFIX = "transformer."


def make() -> None:
    about = made("pixart_lora", tolerance="1e-4 of the largest magnitude")
    tensors, models = {}, {}
    with torch.no_grad():
        for name, spec in MODELS.items():
            model = fill_model(diffusers.PixArtTransformer2DModel(**spec["transformer"]))
            bare = transformer_case(model, spec["transformer"], CASES["square"], torch.float32)
            inject_adapter_in_model(LoraConfig(r=RANK, lora_alpha=RANK, target_modules=MODULES), model)
            state = {key: fill(PREFIX + key, tuple(value.shape)) for key, value in get_peft_model_state_dict(model).items()}
            set_peft_model_state_dict(model, state)
            tensors[name] = transformer_case(model, spec["transformer"], CASES["square"], torch.float32)
            truth = transformer_case(model.double(), spec["transformer"], CASES["square"], torch.float64)
            models[name] = {
                "float32Error": float(f"{relative_error(tensors[name], truth):.2g}"),
                "moved": float(f"{relative_error(bare, truth):.2g}"),
                "tensors": {PREFIX + key: list(value.shape) for key, value in sorted(state.items())},
            }
            print(f"{name}: {len(state)} tensors, moves what is said by {models[name]['moved']:.2f}")
    write_tensors(GOLDEN / "pixart_lora.safetensors", tensors, about)
    write_json(GOLDEN / "pixart_lora.json", models, about)
