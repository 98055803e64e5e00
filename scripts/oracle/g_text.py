"""CLIP text towers: hidden states, the penultimate ones, and the pooled vector by each of the two eos rules."""

from __future__ import annotations

import torch

from families import CLIP_L, OPENCLIP_G, VOCABULARY, build_text, clip
from golden import GOLDEN, census, made, relative_error, write_json, write_tensors

START, END, OTHER_END = VOCABULARY - 2, VOCABULARY - 1, 777
MODELS = {
    # eos_token_id 2 in the config: pooled at the largest id (transformers' legacy rule, all released SD encoders)
    "quick-gelu": (CLIP_L, False),
    "projection": (OPENCLIP_G, True),
    # any other eos_token_id: pooled at its first occurrence
    "other-eos": (CLIP_L | {"eos_token_id": OTHER_END, "hidden_act": "gelu"}, False),
    "other-eos-projection": (clip(48, 2, 4, "quick_gelu", 16) | {"eos_token_id": OTHER_END}, True),
}


def token_ids() -> list[list[int]]:
    """[4, 32]: padded by the end token, padded by 0 ("!"), no padding, and the other end token early and twice."""
    words = [(37 * i) % 3000 + 100 for i in range(40)]
    rows = [
        [START, *words[:5], END] + [END] * 25,
        [START, *words[5:14], END] + [0] * 21,
        [START, *words[:30], END],
        [START, *words[20:23], OTHER_END, *words[3:9], OTHER_END, END] + [0] * 19,
    ]
    # the other end token once in the first three rows too: a row without it would pool at position 0
    for row, place in zip(rows, (3, 8, 30)):
        row[place] = OTHER_END
    return rows


def run(model: torch.nn.Module, ids: torch.Tensor) -> dict[str, torch.Tensor]:
    out = model(ids, output_hidden_states=True)
    assert len(out.hidden_states) == model.config.num_hidden_layers + 1  # so [-2] is what enters the last layer
    pooled = {"text_embeds": out.text_embeds} if hasattr(out, "text_embeds") else {"pooler_output": out.pooler_output}
    return {"last_hidden_state": out.last_hidden_state, "penultimate": out.hidden_states[-2], **pooled}


def make() -> None:
    about = made("text", tolerance="1e-4 of the largest magnitude: the error of float32 against float64 is in index.json")
    ids = torch.tensor(token_ids())
    index = {}
    for name, (config, projection) in MODELS.items():
        model = build_text(config, projection=projection)
        model.config.architectures = [type(model).__name__]
        folder = GOLDEN / "text" / name
        model.config.save_pretrained(folder)
        total = census(model)
        outputs = run(model, ids)
        exact = run(model.double(), ids)
        write_tensors(folder / "expected.safetensors", outputs, about)
        errors = {key: float(f"{relative_error(value, exact[key]):.2g}") for key, value in outputs.items()}
        index[name] = {"census": total, "float32Error": errors}
    write_json(GOLDEN / "text" / "index.json", {"inputIds": token_ids(), "models": index}, about)
