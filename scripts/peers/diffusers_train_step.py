"""diffusers and PyTorch in eager float32, AdamW with clipping: MODEL BATCH STEPS THREADS. See bench/train-step.js."""

import json
import sys
import time

import torch
from common import since_start
from diffusers import UNet2DConditionModel

model, batch, steps, threads = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
torch.set_num_threads(threads)
unet = UNet2DConditionModel.from_pretrained(model, subfolder="unet", torch_dtype=torch.float32).train()
optimizer = torch.optim.AdamW(unet.parameters(), lr=1e-4, weight_decay=0.01)
ready = since_start()

torch.manual_seed(0)
pooled = unet.config.projection_class_embeddings_input_dim - 6 * unet.config.addition_time_embed_dim
sample, target = torch.randn(batch, 4, 16, 16), torch.randn(batch, 4, 16, 16)
text = torch.randn(batch, 32, unet.config.cross_attention_dim)
added = {"text_embeds": torch.randn(batch, pooled), "time_ids": torch.full((batch, 6), 128.0)}
timesteps = torch.randint(0, 1000, (batch,))


def step():
    out = unet(sample, timesteps, text, added_cond_kwargs=added).sample
    loss = torch.nn.functional.mse_loss(out, target)
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
    optimizer.step()
    return loss.item()


times, cpu, first = [], [], 0.0
for i in range(steps):
    start, used = time.time(), time.process_time()
    step()
    if i == 0:
        first = since_start()
    else:
        times.append(time.time() - start)
        cpu.append(time.process_time() - used)
print(json.dumps({"ready": ready, "first": first, "steps": times, "cpu": cpu}), flush=True)
