"""Low-rank adapters by diffusers and PEFT: the names of each kind of file, and the pictures that they make."""

from __future__ import annotations

import tempfile
from typing import Any

import torch
from peft import LoraConfig
from diffusers.utils import convert_state_dict_to_diffusers
from peft.utils import get_peft_model_state_dict
from safetensors.torch import load_file, save_file

from clip_tokenizers import load_tokenizers
from families import FAMILIES, build_pipeline
from fill import fill
from g_pictures import EVEN, draw, request
from golden import GOLDEN, made, write_json, write_tensors

RANK = 2
#: α / rank is the scale: other than 1, so that it is seen to be heeded.
ALPHA = 3
UNET = ["to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2", "conv1", "time_emb_proj"]
TEXT = ["q_proj", "v_proj"]


def adapters(pipe: Any) -> dict[str, torch.Tensor]:
    """The file that diffusers writes, its matrices filled by name."""
    pipe.unet.add_adapter(LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=UNET))
    pipe.text_encoder.add_adapter(LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=TEXT))
    layers = {"unet_lora_layers": get_peft_model_state_dict(pipe.unet), "text_encoder_lora_layers": convert_state_dict_to_diffusers(get_peft_model_state_dict(pipe.text_encoder))}
    with tempfile.TemporaryDirectory() as folder:
        type(pipe).save_lora_weights(folder, **layers)
        names = load_file(f"{folder}/pytorch_lora_weights.safetensors")
    pipe.unet.delete_adapters("default")
    pipe.text_encoder.delete_adapter("default")
    return {name: fill(name, tuple(tensor.shape)) for name, tensor in sorted(names.items())}


def kohya(peft: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The U-Net's layers by the names of kohya-ss/sd-scripts, with their α."""
    out = {}
    for name, tensor in peft.items():
        part, module = name.split(".", 1)
        if part != "unet":
            continue  # diffusers 0.42 does not read kohya's text layers beside transformers 5
        module, kind = module.removesuffix(".weight").rsplit(".", 1)
        flat = "lora_unet_" + module.replace(".", "_")
        out[f"{flat}.{'lora_down' if kind == 'lora_A' else 'lora_up'}.weight"] = tensor
        out[f"{flat}.alpha"] = torch.tensor(float(ALPHA))
    return dict(sorted(out.items()))


def original(names: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """kohya's SDXL files call the U-Net's layers as Stability AI does: two layers a block."""
    def rename(name: str) -> str:
        for level in range(3):
            for layer in range(3):
                for what, sub in (("resnets", 0), ("attentions", 1)):
                    name = name.replace(f"lora_unet_down_blocks_{level}_{what}_{layer}_", f"lora_unet_input_blocks_{1 + 3 * level + layer}_{sub}_")
                    name = name.replace(f"lora_unet_up_blocks_{level}_{what}_{layer}_", f"lora_unet_output_blocks_{3 * level + layer}_{sub}_")
        name = name.replace("lora_unet_mid_block_attentions_0_", "lora_unet_middle_block_1_")
        for half in range(2):
            name = name.replace(f"lora_unet_mid_block_resnets_{half}_", f"lora_unet_middle_block_{2 * half}_")
        if "put_blocks" in name or "middle_block" in name:
            name = name.replace("_conv1.", "_in_layers_2.").replace("_time_emb_proj.", "_emb_layers_1.")
        return name

    return {rename(name): tensor for name, tensor in names.items()}


def make() -> None:
    tokenizers = load_tokenizers()
    pictures, files = {}, {}
    cases = {"sd15": ("sd15", request("sd15", 3, 5.0, EVEN, 41)), "sdxl": ("sdxl", request("sdxl", 3, 5.0, EVEN, 42))}
    for name, (family, asked) in cases.items():
        pipe = build_pipeline(FAMILIES[family], *tokenizers)
        plain = adapters(pipe)
        flat = kohya(plain)
        kinds = {"peft": plain, "kohya": original(flat) if family == "sdxl" else flat}
        with torch.no_grad():
            bare = draw(pipe, asked)
            for kind, tensors in kinds.items():
                with tempfile.TemporaryDirectory() as folder:
                    save_file(tensors, f"{folder}/lora.safetensors")
                    pipe.load_lora_weights(f"{folder}/lora.safetensors", adapter_name=kind)
                pipe.set_adapters([kind], [0.5])
                pictures[f"{name}-{kind}"] = draw(pipe, asked)
                pipe.unload_lora_weights()
                names = {key: list(tensor.shape) for key, tensor in tensors.items()}
                difference = (pictures[f"{name}-{kind}"].double() - bare.double()).abs().mean()
                print(f"{name}-{kind}: {len(names)} tensors, moves a pixel by {difference:.1f}")
                files[f"{name}-{kind}"] = {"family": family, "request": asked, "tensors": names}
    about = made("lora", tolerance="45 dB; 0.5 of every adapter")
    write_tensors(GOLDEN / "lora.safetensors", pictures, about)
    write_json(GOLDEN / "lora.json", {"alpha": ALPHA, "weight": 0.5, "files": files}, about)
