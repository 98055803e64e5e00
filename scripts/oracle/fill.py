"""Deterministic tensors from nothing but a name and a shape: test/fill.ts is the same rule.

Element i of tensor `name` is base + scale * u, computed in float64 and rounded once to float32, with

    u = (k - 2^23) / 2^23,   k = mix(fnv1a(name) ^ mix(i + 0x9e3779b9)) >> 8      (24 bits)

where fnv1a is FNV-1a of 32 bits over the UTF-8 bytes of the name and mix is MurmurHash3's 32-bit finaliser.
Base and scale by the first rule that fits (fan_in = product of all but the first dimension):

    name starts with "input."                  base 0, scale 1
    name ends with "_embedding.weight"         base 0, scale 0.5
    rank 1, name ends with ".weight"           base 1, scale 0.1      (norms)
    rank 0 or 1                                base 0, scale 0.05     (biases)
    anything else                              base 0, scale sqrt(3 / fan_in): unit variance in, unit out
"""

from __future__ import annotations

import math

import numpy as np
import torch


def fnv1a(text: str) -> int:
    h = 0x811C9DC5
    for byte in text.encode("utf-8"):
        h = ((h ^ byte) * 0x01000193) & 0xFFFFFFFF
    return h


def mix(h: np.ndarray) -> np.ndarray:
    """MurmurHash3's fmix32, wrapping in uint32."""
    h = h.copy()
    h ^= h >> np.uint32(16)
    h *= np.uint32(0x85EBCA6B)
    h ^= h >> np.uint32(13)
    h *= np.uint32(0xC2B2AE35)
    h ^= h >> np.uint32(16)
    return h


def base_and_scale(name: str, shape: tuple[int, ...]) -> tuple[float, float]:
    if name.startswith("input."):
        return 0.0, 1.0
    if name.endswith("_embedding.weight"):
        return 0.0, 0.5
    if len(shape) == 1 and name.endswith(".weight"):
        return 1.0, 0.1
    if len(shape) <= 1:
        return 0.0, 0.05
    return 0.0, math.sqrt(3 / math.prod(shape[1:]))


def fill(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """float32 tensor of `shape`."""
    shape = tuple(shape)
    n = math.prod(shape)
    i = np.arange(n, dtype=np.uint32) + np.uint32(0x9E3779B9)
    k = mix(np.uint32(fnv1a(name)) ^ mix(i)) >> np.uint32(8)
    u = (k.astype(np.float64) - 2.0**23) / 2.0**23
    base, scale = base_and_scale(name, shape)
    return torch.from_numpy((base + scale * u).astype(np.float32).reshape(shape))


def fill_model(model: torch.nn.Module, *, text: bool = False) -> torch.nn.Module:
    """Fills every parameter in place by its checkpoint name.

    `text` restores the prefix `text_model.` that released text encoders carry and newer transformers drop.
    """
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    bare = text and not any(name.startswith("text_model.") for name in shapes)
    state = {name: fill(f"text_model.{name}" if bare else name, shape) for name, shape in shapes.items()}
    model.load_state_dict(state, strict=True)
    return model.eval().requires_grad_(False)
