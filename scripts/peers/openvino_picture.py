"""
A picture by a pipeline of OpenVINO's pieces, for models of SDXL's kind: encoders and VAE in bf16 (f32 for the contender f32),
the U-Net as named, both halves of guidance in one call, Euler. No torch: nothing that the process does not need.
{model, files, prompt, negative, size, steps, guidance, seed, threads, precision, floats, cache, trailing, stops, output}
"""

import json
import os

import numpy
import openvino
from common import StepClock, answer, asked, cells_of, since_start
from openvino_settings import compiled
from PIL import Image
from transformers import CLIPTokenizer

o = asked()
core = openvino.Core()
cells = cells_of(o["model"], o["size"])
floats = "f32" if o["precision"] == "f32" else o["floats"]


def config(name):
    with open(os.path.join(o["model"], name)) as file:
        return json.load(file)


def euler(steps):
    """diffusers' EulerDiscreteScheduler: timesteps, sigmas with the 0 at the end, and what the noise is multiplied by."""
    c = config("scheduler/scheduler_config.json")
    count = c["num_train_timesteps"]
    betas = numpy.linspace(c["beta_start"] ** 0.5, c["beta_end"] ** 0.5, count) ** 2
    kept = numpy.cumprod(1 - betas)
    if o["trailing"] or c["timestep_spacing"] == "trailing":
        timesteps = numpy.round(numpy.arange(count, 0, -count / steps))[:steps] - 1
    else:
        timesteps = (numpy.arange(steps) * (count // steps))[::-1] + c["steps_offset"]
    sigmas = numpy.interp(timesteps, numpy.arange(count), ((1 - kept) / kept) ** 0.5)
    start = sigmas[0] if o["trailing"] else (sigmas[0] ** 2 + 1) ** 0.5
    return timesteps, numpy.append(sigmas, 0.0), start


def load(name, precision, batch=1):
    return compiled(core, o, name, precision, batch, cells)


def encode(text):
    states, pooled = [], None
    for name, tokenizer in zip(("text_encoder", "text_encoder_2"), tokenizers, strict=True):
        ids = tokenizer(text, padding="max_length", max_length=tokenizer.model_max_length, truncation=True).input_ids
        out = encoders[name](numpy.array([ids], dtype=numpy.int64))
        states.append(out[0])
        pooled = out[1] if len(out) > 1 else pooled
    return numpy.concatenate(states, axis=-1), pooled


tokenizers = [CLIPTokenizer.from_pretrained(o["model"], subfolder=name) for name in ("tokenizer", "tokenizer_2")]
encoders = {name: load(name, floats) for name in ("text_encoder", "text_encoder_2")}
text, pooled = encode(o["prompt"])
guided = o["guidance"] > 1
if guided:
    if o["negative"]:
        none, none_pooled = encode(o["negative"])
    else:  # SDXL's "no prompt"
        none, none_pooled = numpy.zeros_like(text), numpy.zeros_like(pooled)
    text, pooled = numpy.concatenate([none, text]), numpy.concatenate([none_pooled, pooled])
del encoders

batch = 2 if guided else 1
name = "unet-int8" if o["precision"] == "int8" else "unet"
unet = load(name, o["precision"], batch).create_infer_request()
sizes = numpy.array([[o["size"], o["size"], 0, 0, o["size"], o["size"]]] * batch, dtype=numpy.float32)
x = numpy.random.default_rng(o["seed"]).standard_normal((1, 4, cells, cells), dtype=numpy.float32)
timesteps, sigmas, start = euler(o["steps"])
x = x * numpy.float32(start)
clock = StepClock()
for i, t in enumerate(timesteps):
    clock.begin()
    scaled = numpy.repeat(x / numpy.float32((sigmas[i] ** 2 + 1) ** 0.5), batch, axis=0)
    out = unet.infer({0: scaled, 1: numpy.float32(t), 2: text, 3: pooled, 4: sizes})[0]
    noise = out[:1] + numpy.float32(o["guidance"]) * (out[1:] - out[:1]) if guided else out
    x = x + noise * numpy.float32(sigmas[i + 1] - sigmas[i])
    clock.end()
    if o["stops"]:
        answer(ready=clock.ready, first=clock.first, steps=[])
        raise SystemExit
del unet

pixels = load("vae", floats)(x / numpy.float32(config("vae/config.json")["scaling_factor"]))[0][0]
pixels = (pixels / 2 + 0.5).clip(0, 1).transpose(1, 2, 0)
Image.fromarray((pixels * 255).round().astype(numpy.uint8)).save(o["output"])
answer(ready=clock.ready, first=clock.first, steps=clock.steps, picture=since_start())
