"""torch.randn on a CPU generator: the sizes where its three ways of filling memory meet, and consecutive draws."""

from __future__ import annotations

import torch

from golden import GOLDEN, made, write_json

SEEDS = [0, 7, 42, 2**31 + 5, 2**32 + 3, 2**53 - 1]
SIZES = [1, 4, 5, 15, 16, 17, 20, 31, 32, 33, 36, 100, 256]


def make() -> None:
    cases = []
    for seed in SEEDS:
        for size in SIZES:
            values = torch.randn(size, generator=torch.Generator("cpu").manual_seed(seed))
            cases.append({"seed": seed, "size": size, "values": numbers(values)})
    streams = []
    for seed, sizes in ((3, [16, 16, 5]), (3, [5, 5, 20]), (3, [1, 1, 17, 40]), (11, [36, 36, 36])):
        generator = torch.Generator("cpu").manual_seed(seed)
        draws = [numbers(torch.randn(size, generator=generator)) for size in sizes]
        streams.append({"seed": seed, "sizes": sizes, "draws": draws})
    large = torch.randn(4 * 128 * 128, generator=torch.Generator("cpu").manual_seed(42))
    write_json(GOLDEN / "randn.json", {
        "cases": cases, "streams": streams,
        "large": [{"seed": 42, "size": large.numel(), "first": numbers(large[:16]), "last": numbers(large[-16:]), "sum": float(large.double().sum())}],
    }, made(
        "randn", seed="each case names its own",
        tolerance="4e-6: torch's vectorised log, sin and cos differ from the exact ones by up to 2e-6, and between its own kernels",
    ))


def numbers(values: torch.Tensor) -> list[float]:
    return [float(f"{v:.9g}") for v in values.tolist()]
