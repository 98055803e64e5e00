"""The analyses by NumPy: attention maps, principal components by SVD, cosines of consecutive layers."""

from __future__ import annotations

import numpy as np

from fill import fill
from golden import GOLDEN, made, write_json

HEADS = 2
#: [N, S, E] of queries, [N, T, E] of keys; the second picture is looked at.
QUERIES, KEYS = (2, 6, 8), (2, 5, 8)
#: More tokens than channels, and fewer: ours goes through the smaller Gram matrix.
FEATURES = {"tall": (1, 20, 6), "wide": (1, 7, 16)}


def array(name: str, shape: tuple[int, ...]) -> np.ndarray:
    return fill(f"input.{name}", shape).numpy().astype(np.float64)


def attention() -> list[list[float]]:
    q, k = array("queries", QUERIES)[1], array("keys", KEYS)[1]
    size = QUERIES[2] // HEADS
    maps = []
    for head in range(HEADS):
        part = slice(head * size, (head + 1) * size)
        scores = q[:, part] @ k[:, part].T / np.sqrt(size)
        weights = np.exp(scores - scores.max(1, keepdims=True))
        maps.append(weights / weights.sum(1, keepdims=True))
    return np.mean(maps, axis=0).tolist()


def components(name: str) -> dict[str, list]:
    x = array(name, FEATURES[name])[0]
    x = x - x.mean(0)
    u, s, vt = np.linalg.svd(x, full_matrices=False)
    sign = np.sign(vt[np.arange(3), np.abs(vt[:3]).argmax(1)])  # the largest loading is positive
    return {"scores": (u[:, :3] * s[:3] * sign).tolist(), "shares": (s[:3] ** 2 / (s**2).sum()).tolist()}


def cosine() -> float:
    a, b = array("before", (2, 9, 12)), array("after", (2, 9, 12))
    return float(((a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)).mean())


def make() -> None:
    values = {"attention": attention(), "components": {name: components(name) for name in FEATURES}, "cosine": cosine()}
    write_json(GOLDEN / "analysis.json", values, made("analysis", tolerance="1e-5 absolute: float64 against float64 from the same float32 inputs"))
