"""
stable-diffusion.cpp: a picture by its Python package. {model, prompt, negative, size, steps, guidance, seed, threads, precision, output}

It makes whole pictures only; its steps are timed by its progress callback.
"""

import os
import sys

from common import StepClock, answer, asked, since_start

o = asked()
quiet = os.dup(1)
os.dup2(2, 1)  # it logs to standard output, whose last line is ours

from stable_diffusion_cpp import StableDiffusion  # noqa: E402

types = {"f32": "f32", "f16": "f16", "bf16": "bf16", "int8": "q8_0", "int4": "q4_0"}
clock = StepClock()


def progress(step, steps, _):
    """Told of step 0 as sampling begins, and then after each; its own seconds are means since the first."""
    if steps != o["steps"]:
        return  # the loading of tensors and the tiles of the VAE are counted by the same callback
    if step > 0:
        clock.end()
    clock.begin()


try:
    sd = StableDiffusion(
        model_path=o["model"],
        wtype=types[o["precision"]],
        n_threads=o["threads"],
        vae_decode_only=True,
        diffusion_flash_attn=True,
        verbose=True,
    )
except Exception as error:  # whatever it raises: it does not know the layout of every model
    sys.exit(f"it cannot load this model: {error}")
pictures = sd.generate_image(
    prompt=o["prompt"],
    negative_prompt=o["negative"] or "",
    width=o["size"],
    height=o["size"],
    cfg_scale=max(1.0, o["guidance"]),
    sample_steps=o["steps"],
    sample_method="euler",
    seed=o["seed"],
    progress_callback=progress,
)
if o["output"]:
    pictures[0].save(o["output"])
os.dup2(quiet, 1)
answer(ready=clock.ready, first=clock.first, steps=clock.steps, picture=since_start())
sys.stdout.flush()
os._exit(0)  # its destructors may complain of what is freed already
