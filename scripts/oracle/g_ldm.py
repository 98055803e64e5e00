"""Single files in the LDM layout: where each tensor of SD 1, SD 2 and SDXL goes, as diffusers' own converter moves it.

The LDM names are written down from the structure of CompVis' openaimodel.py and autoencoder and of OpenCLIP's text tower; each tensor is
tagged by the numbers in it, the converter runs, and the tags say what it did. A name it does not know, or a diffusers name that
nothing reaches, stops the run: so these names are right if the converter is.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Iterator

import diffusers
import torch
from diffusers.loaders.single_file_utils import (
    convert_ldm_clip_checkpoint,
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
    convert_open_clip_checkpoint,
)

from families import FAMILIES, Family, build_text
from golden import GOLDEN, made, write_json

UNET, VAE = "model.diffusion_model.", "first_stage_model."
#: SD 2's checkpoint has one layer more than its text encoder uses (23 of 24): the converter knows the last by its number.
SD2_LAYERS = 23

Shape = tuple[int, ...]
#: (diffusers name, LDM name, LDM shape, transform)
Row = tuple[str, str, list[int], str]


def both(name: str) -> list[str]:
    return [f"{name}.weight", f"{name}.bias"]


def unet_names(c: dict[str, Any]) -> Iterator[str]:
    """Names of openaimodel.UNetModel for a diffusers config."""
    channels, layers = c["block_out_channels"], c["layers_per_block"]
    depths = c.get("transformer_layers_per_block", [1] * len(channels))
    depths = [d if "CrossAttn" in kind else 0 for d, kind in zip(depths, c["down_block_types"])]
    mid_depth = c.get("transformer_layers_per_block", [1])[-1]

    def resnet(at: str, shortcut: bool) -> Iterator[str]:
        for part in ("in_layers.0", "in_layers.2", "emb_layers.1", "out_layers.0", "out_layers.3", *(["skip_connection"] if shortcut else [])):
            yield from both(f"{at}.{part}")

    def transformer(at: str, depth: int) -> Iterator[str]:
        for part in ("norm", "proj_in", "proj_out"):
            yield from both(f"{at}.{part}")
        for k in range(depth):
            block = f"{at}.transformer_blocks.{k}"
            for attention in ("attn1", "attn2"):
                for part in ("to_q", "to_k", "to_v"):
                    yield f"{block}.{attention}.{part}.weight"
                yield from both(f"{block}.{attention}.to_out.0")
            for part in ("norm1", "norm2", "norm3", "ff.net.0.proj", "ff.net.2"):
                yield from both(f"{block}.{part}")

    embeddings = ["time_embed.0", "time_embed.2", *(["label_emb.0.0", "label_emb.0.2"] if c.get("addition_embed_type") else [])]
    for name in (*embeddings, "input_blocks.0.0", "out.0", "out.2"):
        yield from both(name)
    i, before = 1, channels[0]
    for level, width in enumerate(channels):
        for _ in range(layers):
            yield from resnet(f"input_blocks.{i}.0", width != before)
            if depths[level]:
                yield from transformer(f"input_blocks.{i}.1", depths[level])
            i, before = i + 1, width
        if level < len(channels) - 1:
            yield from both(f"input_blocks.{i}.0.op")
            i += 1
    yield from resnet("middle_block.0", False)
    yield from transformer("middle_block.1", mid_depth)
    yield from resnet("middle_block.2", False)
    i = 0
    for level in reversed(range(len(channels))):
        for layer in range(layers + 1):
            yield from resnet(f"output_blocks.{i}.0", True)
            if depths[level]:
                yield from transformer(f"output_blocks.{i}.1", depths[level])
            if level > 0 and layer == layers:
                yield from both(f"output_blocks.{i}.{2 if depths[level] else 1}.conv")
            i += 1


def vae_names(c: dict[str, Any]) -> Iterator[str]:
    """Names of CompVis' autoencoder (model.py, Encoder and Decoder)."""
    channels, layers = c["block_out_channels"], c["layers_per_block"]

    def resnet(at: str, shortcut: bool) -> Iterator[str]:
        for part in ("norm1", "conv1", "norm2", "conv2", *(["nin_shortcut"] if shortcut else [])):
            yield from both(f"{at}.{part}")

    for side in ("encoder", "decoder"):
        for part in ("conv_in", "conv_out", "norm_out", *(f"mid.attn_1.{p}" for p in ("norm", "q", "k", "v", "proj_out"))):
            yield from both(f"{side}.{part}")
        yield from resnet(f"{side}.mid.block_1", False)
        yield from resnet(f"{side}.mid.block_2", False)
    before = channels[0]
    for level, width in enumerate(channels):
        for j in range(layers):
            yield from resnet(f"encoder.down.{level}.block.{j}", before != width)
            before = width
        if level < len(channels) - 1:
            yield from both(f"encoder.down.{level}.downsample.conv")
    for level in reversed(range(len(channels))):  # up.0 is the finest and runs last
        for j in range(layers + 1):
            yield from resnet(f"decoder.up.{level}.block.{j}", before != channels[level])
            before = channels[level]
        if level > 0:
            yield from both(f"decoder.up.{level}.upsample.conv")
    yield from both("quant_conv")
    yield from both("post_quant_conv")


def open_clip_shapes(c: dict[str, Any], layers: int) -> dict[str, Shape]:
    """Names and shapes of OpenCLIP's text tower."""
    e, m = c["hidden_size"], c["intermediate_size"]
    shapes: dict[str, Shape] = {
        "positional_embedding": (c["max_position_embeddings"], e), "token_embedding.weight": (c["vocab_size"], e),
        "text_projection": (e, c["projection_dim"]), "logit_scale": (), "ln_final.weight": (e,), "ln_final.bias": (e,),
    }
    for k in range(layers):
        block = {
            "ln_1.weight": (e,), "ln_1.bias": (e,), "ln_2.weight": (e,), "ln_2.bias": (e,),
            "attn.in_proj_weight": (3 * e, e), "attn.in_proj_bias": (3 * e,), "attn.out_proj.weight": (e, e), "attn.out_proj.bias": (e,),
            "mlp.c_fc.weight": (m, e), "mlp.c_fc.bias": (m,), "mlp.c_proj.weight": (e, m), "mlp.c_proj.bias": (e,),
        }
        shapes |= {f"transformer.resblocks.{k}.{name}": shape for name, shape in block.items()}
    return shapes


class Tags:
    """Tensors whose every element is its own number, so that what becomes of them can be read off."""

    def __init__(self) -> None:
        self.next = 0
        self.starts: list[tuple[int, str]] = []
        self.tensors: dict[str, torch.Tensor] = {}

    def add(self, name: str, shape: Shape) -> None:
        tensor = torch.empty(shape, dtype=torch.float64)
        n = tensor.numel()
        self.starts.append((self.next, name))
        self.tensors[name] = (self.next + torch.arange(n, dtype=torch.float64)).reshape(shape)
        self.next += n

    def explain(self, target: str, value: torch.Tensor) -> Row:
        """Source and transform of a converted tensor: "", "transpose", "squeeze" or "rows a:b"."""
        first = float(value.min())
        name = [name for start, name in self.starts if start <= first][-1]
        source = self.tensors[name]
        shape = list(source.shape)
        if torch.equal(value, source):
            return (target, name, shape, "")
        if source.ndim == 2 and torch.equal(value, source.T):
            return (target, name, shape, "transpose")
        if source.ndim > 2 and torch.equal(value, source.flatten(2)[:, :, 0]):
            return (target, name, shape, "squeeze")
        rows = value.shape[0]
        start = int((first - float(source.min())) // (source.numel() // source.shape[0]))
        assert torch.equal(value, source[start : start + rows]), target
        return (target, name, shape, f"rows {start}:{start + rows}")


def explained(component: str, tags: Tags, converted: dict[str, torch.Tensor], model: torch.nn.Module, *, prefix: str = "") -> list[Row]:
    """One row a tensor of the diffusers model; stops where a name or a shape does not fit it."""
    wanted = {f"{prefix}{name}": list(value.shape) for name, value in model.state_dict().items()}
    missing, surplus = wanted.keys() - converted.keys(), converted.keys() - wanted.keys()
    assert not missing and not surplus, (component, sorted(missing)[:5], sorted(surplus)[:5])
    rows = [tags.explain(name, converted[name]) for name in wanted]
    for name, _, shape, transform in rows:
        assert transform or wanted[name] == shape, (name, shape, wanted[name])
    return rows


def shapes_of(convert, names: list[str], model: torch.nn.Module, squeezed: str | None = None) -> dict[str, Shape]:
    """LDM shapes: those of the diffusers tensor that each name reaches, and 1x1 convolutions where `squeezed` is in the name."""
    tags = Tags()
    for name in names:
        tags.add(name, (1, 1, 1, 1) if squeezed and squeezed in name and name.endswith(".weight") else (1,))
    reached = {tags.explain(target, value)[1]: target for target, value in convert(tags.tensors).items()}
    real = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    out = {name: real[reached[name]] for name in names}
    return {name: (*shape, 1, 1) if squeezed and squeezed in name and len(shape) == 2 else shape for name, shape in out.items()}


def table(family: Family, text_layers: int | None) -> dict[str, Any]:
    components: dict[str, list[Row]] = {}
    ignored: list[str] = []

    unet = diffusers.UNet2DConditionModel(**family.unet)
    components["unet"] = named("unet", lambda t: convert_ldm_unet_checkpoint(t, unet.config), [UNET + name for name in unet_names(family.unet)], unet)

    vae = diffusers.AutoencoderKL(**family.vae)
    names = [VAE + name for name in vae_names(family.vae)]
    components["vae"] = named("vae", lambda t: convert_ldm_vae_checkpoint(t, vae.config), names, vae, squeezed=".mid.attn_1.")

    clip_l = "cond_stage_model.transformer." if family.text_encoder_2 is None else "conditioner.embedders.0.transformer."
    if family.text_encoder["hidden_act"] == "quick_gelu":
        model = build_text(family.text_encoder, projection=False)
        tags = Tags()
        for name, value in model.state_dict().items():
            tags.add(f"{clip_l}text_model.{name}", tuple(value.shape))
        converted = convert_ldm_clip_checkpoint(tags.tensors)
        components["text_encoder"] = explained("text_encoder", tags, converted, model, prefix="text_model.")
        ignored.append(f"{clip_l}text_model.embeddings.position_ids")
    else:
        components["text_encoder"] = open_clip(family.text_encoder, "cond_stage_model.model.", text_layers, ignored, projection=False)
    if family.text_encoder_2 is not None:
        components["text_encoder_2"] = open_clip(family.text_encoder_2, "conditioner.embedders.1.model.", None, ignored, projection=True)
    return {"ignored": ignored, "components": components}


def named(component: str, convert, names: list[str], model: torch.nn.Module, squeezed: str | None = None) -> list[Row]:
    tags = Tags()
    for name, shape in shapes_of(convert, names, model, squeezed).items():
        tags.add(name, shape)
    return explained(component, tags, convert(tags.tensors), model)


def open_clip(config: dict[str, Any], prefix: str, layers: int | None, ignored: list[str], *, projection: bool) -> list[Row]:
    """`layers` where the file holds one layer more than the model."""
    depth = layers or config["num_hidden_layers"]
    model = build_text(config | {"num_hidden_layers": depth}, projection=projection)
    tags = Tags()
    for name, shape in open_clip_shapes(config, depth + (1 if layers else 0)).items():
        tags.add(prefix + name, shape)
    converted = convert_open_clip_checkpoint(model, tags.tensors, prefix=prefix)
    rows = explained("text", tags, converted, model, prefix="" if projection else "text_model.")
    used = {row[1] for row in rows}
    ignored.extend(name for name in tags.tensors if name not in used)
    return rows


def make() -> None:
    about = made(
        "ldm", seed="none", tolerance="0: names, shapes and integers",
        source="diffusers.loaders.single_file_utils: convert_ldm_unet_checkpoint, convert_ldm_vae_checkpoint, convert_ldm_clip_checkpoint, convert_open_clip_checkpoint",
    )
    for name in ("sd15", "sd2", "sdxl"):
        family = FAMILIES[name]
        if name == "sd2":
            family = dataclasses.replace(family, text_encoder=family.text_encoder | {"num_hidden_layers": SD2_LAYERS})
        result = table(family, SD2_LAYERS if name == "sd2" else None)
        configs = {"unet": family.unet, "vae": family.vae, "text_encoder": family.text_encoder, "text_encoder_2": family.text_encoder_2}
        write_json(GOLDEN / "ldm" / f"{name}.json", {"configs": {k: v for k, v in configs.items() if v}, **result}, about, depth=3)
