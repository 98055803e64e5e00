"""diffusers in float32: MODEL SIZE STEPS THREADS."""

import sys

import torch
from common import report, since_start, unet_inputs
from diffusers import UNet2DConditionModel

model, size, steps, threads = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
torch.set_num_threads(threads)
unet = UNet2DConditionModel.from_pretrained(model, subfolder="unet", torch_dtype=torch.float32)
ready = since_start()
sample, t, text, added = unet_inputs(size)


@torch.inference_mode()
def run():
    unet(sample, t, text, added_cond_kwargs=added)


report(ready, run, steps)
