"""diffusers: one picture of the repository's model, as its README says to make them: MODEL OUT THREADS."""

import json
import sys

import torch
from diffusers import StableDiffusionXLPipeline

model, out, threads = sys.argv[1], sys.argv[2], int(sys.argv[3])
torch.set_num_threads(threads)
pipe = StableDiffusionXLPipeline.from_pretrained(model, torch_dtype=torch.float32)
pipe.set_progress_bar_config(disable=True)
settings = {"num_inference_steps": 20, "guidance_scale": 3.5, "width": 128, "height": 128}
picture = pipe("a red apple", generator=torch.Generator("cpu").manual_seed(0), **settings).images[0]
picture.save(out)
print(json.dumps({}))
