"""CLIP picture towers: hidden states, the pooled class token and its projection."""

from __future__ import annotations

import torch
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from fill import fill, fill_model
from golden import GOLDEN, census, made, relative_error, write_json, write_tensors

SMALL = {"hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4, "image_size": 32, "patch_size": 8, "projection_dim": 24}
MODELS = {"quick-gelu": SMALL | {"hidden_act": "quick_gelu"}, "gelu": SMALL | {"hidden_act": "gelu", "patch_size": 16, "num_attention_heads": 3}}


def run(model: torch.nn.Module, picture: torch.Tensor) -> dict[str, torch.Tensor]:
    out = model(picture, output_hidden_states=True)
    pooled = model.vision_model.post_layernorm(out.last_hidden_state[:, 0])
    return {"last_hidden_state": out.last_hidden_state, "pooled": pooled, "image_embeds": out.image_embeds}


def make() -> None:
    about = made("vision", tolerance="1e-4 of the largest magnitude: the error of float32 against float64 is in index.json")
    index = {}
    for name, config in MODELS.items():
        model = fill_model(CLIPVisionModelWithProjection(CLIPVisionConfig(**config)))
        model.config.architectures = [type(model).__name__]
        folder = GOLDEN / "vision" / name
        model.config.save_pretrained(folder)
        picture = fill("input.picture", (2, 3, 32, 32))
        total = census(model)
        with torch.no_grad():
            outputs = run(model, picture)
            exact = run(model.double(), picture.double())
        write_tensors(folder / "expected.safetensors", outputs, about)
        errors = {key: float(f"{relative_error(value, exact[key]):.2g}") for key, value in outputs.items()}
        index[name] = {"census": total, "float32Error": errors}
    write_json(GOLDEN / "vision" / "index.json", {"models": index}, about)
