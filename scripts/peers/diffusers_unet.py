"""diffusers: forwards of a U-Net. {model, size, steps, threads, precision}"""

import torch
from common import answer, asked, cells_of, since_start, timed, tokens_of, unet_example
from diffusers import UNet2DConditionModel

o = asked()
dtype = {"f32": torch.float32, "bf16": torch.bfloat16}[o["precision"]]
torch.set_num_threads(o["threads"])
unet = UNet2DConditionModel.from_pretrained(o["model"], subfolder="unet", torch_dtype=dtype)
ready = since_start()
sample, t, text, added = unet_example(unet.config, o["size"], cells_of(o["model"], o["size"]), tokens_of(o["model"]))
sample, text = sample.to(dtype), text.to(dtype)
added = None if added is None else {name: value.to(dtype) for name, value in added.items()}


@torch.inference_mode()
def run():
    unet(sample, t, text, added_cond_kwargs=added)


first, steps, cpu = timed(run, o["steps"])
answer(ready=ready, first=first, steps=steps, cpu=cpu)
