"""diffusers: a picture, as its documentation says. {model, prompt, negative, size, steps, guidance, seed, threads, precision, trailing, stops, output}"""

import torch
from common import StepClock, answer, asked, since_start
from diffusers import DiffusionPipeline

o = asked()
dtype = {"f32": torch.float32, "bf16": torch.bfloat16}[o["precision"]]
torch.set_num_threads(o["threads"])
pipe = DiffusionPipeline.from_pretrained(o["model"], torch_dtype=dtype)
pipe.set_progress_bar_config(disable=True)
if o["trailing"]:
    pipe.scheduler = type(pipe.scheduler).from_config(pipe.scheduler.config, timestep_spacing="trailing")



class FirstStep(Exception):
    """Ends a picture of which only the beginning is timed."""


def ended(*_):
    clock.end()
    if o["stops"]:
        raise FirstStep


clock = StepClock()
network = getattr(pipe, "unet", None) or pipe.transformer
network.register_forward_pre_hook(lambda *_: clock.begin())
network.register_forward_hook(ended)
settings = {
    "num_inference_steps": o["steps"],
    "guidance_scale": o["guidance"],
    "width": o["size"],
    "height": o["size"],
    "generator": torch.Generator("cpu").manual_seed(o["seed"]),
}
if o["negative"]:
    settings["negative_prompt"] = o["negative"]
try:
    pipe(o["prompt"], **settings).images[0].save(o["output"])
except FirstStep:
    pass
answer(ready=clock.ready, first=clock.first, steps=clock.steps, picture=since_start())
