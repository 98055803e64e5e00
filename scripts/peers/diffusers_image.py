"""diffusers: one picture with the model's defaults: MODEL OUT THREADS."""

import json
import os
import sys

import torch
from diffusers import DiffusionPipeline

model, out, threads = sys.argv[1], sys.argv[2], int(sys.argv[3])
torch.set_num_threads(threads)
with open(os.path.join(model, "README.md"), encoding="utf8") as file:
    file.read(1)  # the folder is there
pipe = DiffusionPipeline.from_pretrained(model, torch_dtype=torch.float32)
pipe.set_progress_bar_config(disable=True)
generator = torch.Generator("cpu").manual_seed(0)
with torch.inference_mode():
    picture = pipe("a red apple", generator=generator).images[0]
picture.save(out)
print(json.dumps({}))
