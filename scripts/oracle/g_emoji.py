"""Pictures of the trained emoji model: made by diffusers when the model was trained, kept beside it."""

from __future__ import annotations

import json
import pathlib
import shutil

from golden import GOLDEN, model_folder, write_json


def make() -> None:
    source: pathlib.Path = model_folder() / "expected"
    if not source.is_dir():
        print(f"emoji: {source} is not there; the pictures in test/golden/emoji stay as they are")
        return
    requests = json.loads((source / "requests.json").read_text())
    for request in requests:
        target = GOLDEN / "emoji" / request["file"]
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / request["file"], target)
    write_json(GOLDEN / "emoji" / "requests.json", {"requests": requests}, {
        "command": "python scripts/oracle/make.py emoji",
        "how": "diffusers 0.42, float32 on a CPU from the float16 weights of models/koala-emoji, noise from torch.Generator('cpu').manual_seed(seed)",
        "tolerance": "45 dB: twenty steps in float32, then 8 bits",
    })
