"""diffusers and PyTorch, eager: distils a U-Net of random weights by self-attention, as KOALA does, one picture a step.
{teacher, student, size, tokens, steps, threads, optimizer}

The teacher is bfloat16. The student's weights are float32, autocast computes it in bfloat16 as the training scripts of diffusers do, and
its gradients are recomputed block by block (gradient checkpointing). torch has no 8-bit Adam for processors: `adafactor` is the one of
its optimizers that keeps least, `adamw` the usual one.
"""

import re
import resource

import torch
from common import answer, asked, since_start, timed, unet_example
from diffusers import UNet2DConditionModel


def random_unet(folder, dtype):
    torch.set_default_dtype(dtype)
    unet = UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(folder, subfolder="unet"))
    torch.set_default_dtype(torch.float32)
    return unet


def self_attention(unet):
    """-> outputs by module name, filled by every forward"""
    kept = {}
    for name, module in unet.named_modules():
        if name.endswith(".attn1"):
            module.register_forward_hook(lambda _m, _i, out, name=name: kept.__setitem__(name, out))
    return kept


def of_teacher(name):
    """The student's decoder keeps the first and the last layer of a stage, of three."""
    return re.sub(r"(up_blocks\.\d+\.attentions\.)1\.", r"\g<1>2.", name)


o = asked()
torch.set_num_threads(o["threads"])
torch.manual_seed(0)
teacher = random_unet(o["teacher"], torch.bfloat16).requires_grad_(False).eval()
student = random_unet(o["student"], torch.float32).train()
student.enable_gradient_checkpointing()
seen, learned = self_attention(teacher), self_attention(student)
optimizers = {"adafactor": torch.optim.Adafactor, "adamw": torch.optim.AdamW}
optimizer = optimizers[o["optimizer"]](student.parameters(), lr=1e-5)
sample, timestep, text, added = unet_example(student.config, o["size"], o["size"] // 8, o["tokens"])
target = torch.randn_like(sample)
half = lambda x: x.to(torch.bfloat16)
ready = since_start()
mse = torch.nn.functional.mse_loss
losses = []


def step():
    with torch.no_grad():
        answered = teacher(half(sample), timestep, half(text), added_cond_kwargs={k: half(v) for k, v in added.items()}).sample
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = student(sample, timestep, text, added_cond_kwargs=added).sample
    features = sum(mse(learned[name].float(), seen[of_teacher(name)].float()) for name in learned)
    loss = mse(out.float(), target) + mse(out.float(), answered.float()) + features
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
    optimizer.step()
    losses.append(loss.item())


first, steps, cpu = timed(step, o["steps"])
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
answer(ready=ready, first=first, steps=steps, cpu=cpu, losses=losses, peak=peak)
