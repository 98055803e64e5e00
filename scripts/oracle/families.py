"""Tiny relatives of every supported family: the real config's fields, with narrow channels.

Widths, heads, the sizes of text and the depth of SDXL-Turbo and -Lightning are small; block types, layers per block,
depth lists, projections, heads-as-lists, scheduler classes and their fields are the family's own.
Sources of the real values: the published config.json of each model; see the comments by name.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import diffusers
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from fill import fill_model

#: Vocabulary and context of the tokenizer in models/koala-emoji, which these families use.
VOCABULARY, CONTEXT = 3202, 32

CROSS, DOWN, UP_CROSS, UP = "CrossAttnDownBlock2D", "DownBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"


def clip(hidden: int, layers: int, heads: int, act: str, projection: int) -> dict[str, Any]:
    """A text tower's config. bos 0, eos 2 and pad 1 are what every released Stable Diffusion says (legacy pooling)."""
    return {
        "vocab_size": VOCABULARY, "max_position_embeddings": CONTEXT, "hidden_size": hidden, "intermediate_size": 4 * hidden,
        "num_hidden_layers": layers, "num_attention_heads": heads, "hidden_act": act, "projection_dim": projection,
        "bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1, "layer_norm_eps": 1e-5,
    }


CLIP_L = clip(32, 3, 2, "quick_gelu", 32)  # openai/clip-vit-large-patch14
OPENCLIP_H = clip(48, 3, 3, "gelu", 24)  # stabilityai/stable-diffusion-2 text_encoder
OPENCLIP_G = clip(48, 3, 3, "gelu", 40)  # SDXL text_encoder_2; the projection differs from the width, to be told apart


def vae(**changes: Any) -> dict[str, Any]:
    return {
        "block_out_channels": [8, 16, 32, 32], "down_block_types": ["DownEncoderBlock2D"] * 4,
        "up_block_types": ["UpDecoderBlock2D"] * 4, "layers_per_block": 1, "latent_channels": 4, "norm_num_groups": 4,
        "act_fn": "silu", "in_channels": 3, "out_channels": 3, "sample_size": 64, "scaling_factor": 0.18215,
    } | changes


VAE_SD = vae(layers_per_block=2)
VAE_XL = vae(layers_per_block=2, scaling_factor=0.13025, force_upcast=True)

TRAINED = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000, "steps_offset": 1}
PNDM = ("PNDMScheduler", TRAINED | {"skip_prk_steps": True, "set_alpha_to_one": False})
DDIM_V = ("DDIMScheduler", TRAINED | {"prediction_type": "v_prediction", "clip_sample": False, "set_alpha_to_one": False})
EULER = ("EulerDiscreteScheduler", TRAINED | {"timestep_spacing": "leading"})
EULER_TRAILING = ("EulerDiscreteScheduler", TRAINED | {"timestep_spacing": "trailing"})
ANCESTRAL = ("EulerAncestralDiscreteScheduler", TRAINED | {"timestep_spacing": "trailing"})
LCM = ("LCMScheduler", TRAINED | {"set_alpha_to_one": True, "clip_sample": False, "original_inference_steps": 50})


def unet_sd(**changes: Any) -> dict[str, Any]:
    return {
        "block_out_channels": [32, 64, 96, 96], "down_block_types": [CROSS, CROSS, CROSS, DOWN],
        "up_block_types": [UP, UP_CROSS, UP_CROSS, UP_CROSS], "layers_per_block": 2, "attention_head_dim": 4,
        "cross_attention_dim": CLIP_L["hidden_size"], "norm_num_groups": 32, "sample_size": 8,
    } | changes


def unet_sd2(**changes: Any) -> dict[str, Any]:
    return unet_sd(attention_head_dim=[2, 4, 6, 6], cross_attention_dim=OPENCLIP_H["hidden_size"], use_linear_projection=True) | changes


def unet_xl(**changes: Any) -> dict[str, Any]:
    pooled, time_dim = OPENCLIP_G["projection_dim"], 8
    return {
        "block_out_channels": [32, 64, 96], "down_block_types": [DOWN, CROSS, CROSS], "up_block_types": [UP_CROSS, UP_CROSS, UP],
        "layers_per_block": 2, "transformer_layers_per_block": [1, 2, 10], "attention_head_dim": [2, 4, 6],
        "cross_attention_dim": CLIP_L["hidden_size"] + OPENCLIP_G["hidden_size"], "use_linear_projection": True,
        "addition_embed_type": "text_time", "addition_time_embed_dim": time_dim,
        "projection_class_embeddings_input_dim": pooled + 6 * time_dim, "norm_num_groups": 32, "sample_size": 8,
    } | changes


@dataclass(frozen=True)
class Family:
    unet: dict[str, Any]
    scheduler: tuple[str, dict[str, Any]]
    text_encoder: dict[str, Any] = field(default_factory=lambda: CLIP_L)
    text_encoder_2: dict[str, Any] | None = None
    vae: dict[str, Any] = field(default_factory=lambda: VAE_SD)
    pipeline: str = "StableDiffusionPipeline"


def sd(unet: dict[str, Any], scheduler=PNDM, **more: Any) -> Family:
    return Family(unet=unet, scheduler=scheduler, **more)


def sd2(unet: dict[str, Any], scheduler=DDIM_V) -> Family:
    return Family(unet=unet, scheduler=scheduler, text_encoder=OPENCLIP_H)


def xl(unet: dict[str, Any], scheduler=EULER) -> Family:
    return Family(unet=unet, scheduler=scheduler, text_encoder_2=OPENCLIP_G, vae=VAE_XL, pipeline="StableDiffusionXLPipeline")


ONE_LAYER = {"layers_per_block": 1}
BK_TINY = {
    "block_out_channels": [32, 64, 96], "down_block_types": [CROSS] * 3, "up_block_types": [UP_CROSS] * 3, "mid_block_type": None,
}

FAMILIES: dict[str, Family] = {
    "sd15": sd(unet_sd()),
    "sd2": sd2(unet_sd2()),
    "sd21": sd2(unet_sd2(upcast_attention=True)),
    "sdxl": xl(unet_xl()),
    "sdxl-turbo": xl(unet_xl(transformer_layers_per_block=[1, 1, 2]), ANCESTRAL),
    "sdxl-lightning": xl(unet_xl(transformer_layers_per_block=[1, 1, 2]), EULER_TRAILING),
    "koala-1b": xl(unet_xl(**ONE_LAYER, transformer_layers_per_block=[1, 2, 6]), EULER_TRAILING),
    "koala-700m": xl(unet_xl(**ONE_LAYER, transformer_layers_per_block=[1, 2, 5], mid_block_type=None), EULER_TRAILING),
    "ssd-1b": xl(unet_xl(
        transformer_layers_per_block=[[1], [2, 2], [4, 4]], reverse_transformer_layers_per_block=[[4, 4, 10], [2, 1, 1], 1],
        mid_block_type="UNetMidBlock2D",
    )),
    "vega": xl(unet_xl(
        transformer_layers_per_block=[[1], [1, 1], [2, 2]], reverse_transformer_layers_per_block=[[2, 2, 2], [1, 1, 1], 1],
        mid_block_type="UNetMidBlock2D",
    )),
    "bk-sdm-base": sd(unet_sd(**ONE_LAYER)),
    "bk-sdm-small": sd(unet_sd(**ONE_LAYER, mid_block_type=None)),
    "bk-sdm-tiny": sd(unet_sd(**ONE_LAYER, **BK_TINY)),
    "bk-sdm-v2-small": sd2(unet_sd2(**ONE_LAYER, mid_block_type=None, upcast_attention=True)),
    # SimianLuo/LCM_Dreamshaper_v7: SD 1.5 with the guidance scale embedded (256 there)
    "lcm": sd(unet_sd(time_cond_proj_dim=16), LCM, pipeline="LatentConsistencyModelPipeline"),
    # nobody's config: two stages, different layers a stage, eight groups, another epsilon
    "odd": sd(unet_sd(
        block_out_channels=[32, 48], down_block_types=[DOWN, CROSS], up_block_types=[UP_CROSS, UP], layers_per_block=[1, 2],
        transformer_layers_per_block=[1, 2], attention_head_dim=[2, 3], norm_num_groups=8, norm_eps=1e-6,
    ), vae=vae(mid_block_add_attention=False)),
}


def build_unet(family: Family) -> diffusers.UNet2DConditionModel:
    return fill_model(diffusers.UNet2DConditionModel(**family.unet))


def build_text(config: dict[str, Any], *, projection: bool):
    cls = CLIPTextModelWithProjection if projection else CLIPTextModel
    return fill_model(cls(CLIPTextConfig(**config)), text=True)


def build_scheduler(spec: tuple[str, dict[str, Any]]):
    name, kwargs = spec
    return getattr(diffusers, name)(**kwargs)


def build_pipeline(family: Family, tokenizer, tokenizer_2):
    """The whole pipeline with filled weights, as `from_pretrained` would assemble it."""
    parts = {
        "vae": fill_model(diffusers.AutoencoderKL(**family.vae)),
        "text_encoder": build_text(family.text_encoder, projection=False),
        "tokenizer": tokenizer,
        "unet": build_unet(family),
        "scheduler": build_scheduler(family.scheduler),
    }
    cls = getattr(diffusers, family.pipeline)
    if family.text_encoder_2 is None:
        pipe = cls(**parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False)
    else:
        second = build_text(family.text_encoder_2, projection=True)
        pipe = cls(**parts, text_encoder_2=second, tokenizer_2=tokenizer_2, force_zeros_for_empty_prompt=True, add_watermarker=False)
    pipe.set_progress_bar_config(disable=True)
    return pipe
