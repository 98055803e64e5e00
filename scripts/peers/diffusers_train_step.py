"""diffusers and PyTorch, eager: AdamW steps with clipping. {model, batch, cells, tokens, steps, threads, precision}

In bf16 the weights stay float32 and autocast computes, as the training scripts of diffusers do.
"""

import torch
from common import answer, asked, since_start, timed
from diffusers import UNet2DConditionModel

o = asked()
torch.set_num_threads(o["threads"])
unet = UNet2DConditionModel.from_pretrained(o["model"], subfolder="unet", torch_dtype=torch.float32).train()
optimizer = torch.optim.AdamW(unet.parameters(), lr=1e-4, weight_decay=0.01)
ready = since_start()

torch.manual_seed(0)
batch, cells = o["batch"], o["cells"]
sample, target = torch.randn(batch, 4, cells, cells), torch.randn(batch, 4, cells, cells)
text = torch.randn(batch, o["tokens"], unet.config.cross_attention_dim)
added = None
if unet.config.addition_embed_type == "text_time":
    pooled = unet.config.projection_class_embeddings_input_dim - 6 * unet.config.addition_time_embed_dim
    added = {"text_embeds": torch.randn(batch, pooled), "time_ids": torch.full((batch, 6), 8.0 * cells)}
timesteps = torch.randint(0, 1000, (batch,))


def step():
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=o["precision"] == "bf16"):
        out = unet(sample, timesteps, text, added_cond_kwargs=added).sample
    loss = torch.nn.functional.mse_loss(out.float(), target)
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
    optimizer.step()
    return loss.item()


first, steps, cpu = timed(step, o["steps"])
answer(ready=ready, first=first, steps=steps, cpu=cpu)
