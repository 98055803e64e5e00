"""Remakes the goldens: python scripts/oracle/make.py [--model FOLDER] [group …]; all groups by default."""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import os
import pathlib
import sys
import time

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # nothing is fetched: weights are filled, tokenizers are local

import golden

#: In the order of need: the fill rule first, because every other group stands on it.
GROUPS = ["fill", "families", "vae", "text", "vision", "schedulers", "solvers", "randn", "tokenizer", "pictures", "prompts", "starts", "emoji", "ldm", "distill", "training", "autoencoder", "clip", "evaluation", "analysis", "lora", "consistency", "pixart", "pixart_lora", "dit"]


def check_versions() -> None:
    """A golden made with other versions would be another golden."""
    wrong = []
    for line in (pathlib.Path(__file__).parent / "requirements.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            name, wanted = line.split("==")
            got = importlib.metadata.version(name).split("+")[0]
            if got != wanted:
                wrong.append(f"{name} {got} (requirements.txt: {wanted})")
    if wrong:
        sys.exit(f"other versions than the goldens were made with: {', '.join(wrong)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=pathlib.Path, default=golden.model_folder(), help="folder of the trained emoji model")
    parser.add_argument("groups", nargs="*", metavar="group", help=", ".join(GROUPS))
    args = parser.parse_args()
    unknown = set(args.groups) - set(GROUPS)
    if unknown:
        parser.error(f"unknown group {', '.join(sorted(unknown))}; there are {', '.join(GROUPS)}")
    check_versions()
    golden.use_model(args.model)
    for group in args.groups or GROUPS:
        start = time.time()
        importlib.import_module(f"g_{group}").make()
        print(f"{group}: {time.time() - start:.1f} s")


if __name__ == "__main__":
    main()
