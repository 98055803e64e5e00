"""Where goldens lie, and how each says how it was made. One thread, CPU, float32: what a run writes, the next run writes again."""

from __future__ import annotations

import hashlib
import json
import pathlib
from typing import Any

import torch
from safetensors.torch import save_file

ROOT = pathlib.Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "test" / "golden"
#: The day the goldens were last remade on purpose (with other versions or another rule).
DATE = "2026-11-27"

torch.set_num_threads(1)
torch.use_deterministic_algorithms(True)


_model = ROOT / "models" / "koala-emoji"


def model_folder() -> pathlib.Path:
    """The trained model of this repository, which gives the tokenizers and the emoji pictures."""
    return _model


def use_model(folder: pathlib.Path) -> None:
    global _model
    _model = folder


def made(group: str, *, tolerance: str, seed: str = "none: names and indices fill every tensor (scripts/oracle/fill.py)", **more: Any) -> dict[str, Any]:
    """How a golden was made. Versions as installed, checked by make.py against requirements.txt."""
    import diffusers
    import numpy
    import transformers

    return {
        "command": f"python scripts/oracle/make.py {group}",
        "versions": {
            "torch": torch.__version__.split("+")[0], "diffusers": diffusers.__version__,
            "transformers": transformers.__version__, "numpy": numpy.__version__,
        },
        "date": DATE,
        "seed": seed,
        "tolerance": tolerance,
        **more,
    }


def write_tensors(path: pathlib.Path, tensors: dict[str, torch.Tensor], about: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {"made": json.dumps(about, ensure_ascii=False)}
    save_file({name: value.detach().contiguous() for name, value in tensors.items()}, path, metadata=metadata)
    path.chmod(0o644)


def write_json(path: pathlib.Path, value: dict[str, Any], about: dict[str, Any], depth: int = 2) -> None:
    """`made` first; `depth` levels indented, the rest on one line each: reviewable and small."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(indented({"made": about, **value}, depth) + "\n", encoding="utf-8")


def indented(value: Any, depth: int, indent: int = 1) -> str:
    if depth == 0 or not isinstance(value, (dict, list, tuple)) or not value:
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, dict):
        rows = [f"{json.dumps(k, ensure_ascii=False)}: {indented(v, depth - 1, indent + 1)}" for k, v in value.items()]
    else:
        rows = [indented(v, depth - 1, indent + 1) for v in value]
    opened, closed = "{}" if isinstance(value, dict) else "[]"
    pad = " " * indent
    return f"{opened}\n" + ",\n".join(f"{pad}{row}" for row in rows) + f"\n{pad[1:]}{closed}"


def census(model: torch.nn.Module) -> dict[str, Any]:
    """Count, total and SHA-256 of the sorted lines `name shape`, shape as `1x2x3`, joined by newlines."""
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    lines = sorted(f"{name} {'x'.join(map(str, shape))}" for name, shape in shapes.items())
    return {
        "tensors": len(shapes),
        "parameters": sum(p.numel() for p in model.parameters()),
        "sha256": hashlib.sha256("\n".join(lines).encode()).hexdigest(),
    }


def relative_error(value: torch.Tensor, truth: torch.Tensor) -> float:
    """Largest difference over the largest magnitude of the truth."""
    return float((value.double() - truth.double()).abs().max() / truth.double().abs().max())
