"""
What OpenVINO's own tools make of a diffusers folder, once, in `files`, for every size: {model, files, precisions, parts}

`unet-int8.xml` is nncf's post-training quantization, weights and activations, on random inputs: on random weights
its scales matter no more than its numbers do; its time is that of any. The others are stored in float16.
"""

import os

import openvino
import torch
from common import answer, asked, tokens_of, unet_example
from diffusers import AutoencoderKL, UNet2DConditionModel

o = asked()
os.makedirs(o["files"], exist_ok=True)


def path(name):
    return os.path.join(o["files"], f"{name}.xml")


def save(model, name):
    openvino.save_model(model, path(name) + ".part.xml", compress_to_fp16=True)
    for end in ("bin", "xml"):  # the .xml last: where it is, all is
        os.replace(path(name) + f".part.{end}", path(name)[: -len("xml")] + end)


class Flat(torch.nn.Module):
    """A U-Net whose arguments all stand in a row."""

    def __init__(self, unet):
        super().__init__()
        self.unet = unet

    def forward(self, sample, t, text, *added):
        extra = {"text_embeds": added[0], "time_ids": added[1]} if added else None
        return self.unet(sample, t, text, added_cond_kwargs=extra, return_dict=False)[0]


def example_row(config, seed=0):
    cells = min(64, config.sample_size)  # of no matter to what is made, but to the memory that it takes
    sample, t, text, added = unet_example(config, 8 * cells, cells, tokens_of(o["model"]))
    torch.manual_seed(seed)
    sample, text = torch.randn_like(sample), torch.randn_like(text)
    return (sample, t, text) if added is None else (sample, t, text, added["text_embeds"], added["time_ids"])


def unet():
    name, config = "unet", None
    if not os.path.exists(path(name)):
        network = UNet2DConditionModel.from_pretrained(o["model"], subfolder="unet", torch_dtype=torch.float32)
        config = network.config
        example = example_row(config)
        # a batch of any size, since guidance makes it two; pictures of any size
        shapes = [{0: [], 4: [-1, *example[0].shape[1:2], -1, -1]}.get(x.ndim, [-1, *x.shape[1:]]) for x in example]
        with torch.inference_mode():
            converted = openvino.convert_model(Flat(network).eval(), example_input=example, input=shapes)
        save(converted, name)
        del network, converted
    if "int8" not in o["precisions"] or os.path.exists(path(f"{name}-int8")):
        return
    import nncf

    config = config or UNet2DConditionModel.load_config(o["model"], subfolder="unet", return_unused_kwargs=False)
    if isinstance(config, dict):
        from types import SimpleNamespace

        config = SimpleNamespace(**config)
    rows = [tuple(x.numpy() for x in example_row(config, seed)) for seed in range(2)]
    model = openvino.Core().read_model(path(name))
    quantized = nncf.quantize(
        model,
        nncf.Dataset(rows, lambda row: dict(enumerate(row))),
        subset_size=len(rows),
        model_type=nncf.ModelType.TRANSFORMER,
        advanced_parameters=nncf.AdvancedQuantizationParameters(disable_bias_correction=True),
    )
    save(quantized, f"{name}-int8")


class Text(torch.nn.Module):
    """What SDXL takes of an encoder: the states before its last layer, and its projection where it has one."""

    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder

    def forward(self, ids):
        out = self.encoder(ids, output_hidden_states=True)
        states = out.hidden_states[-2]
        return (states, out.text_embeds) if hasattr(out, "text_embeds") else states


def encoders():
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    for name, kind in (("text_encoder", CLIPTextModel), ("text_encoder_2", CLIPTextModelWithProjection)):
        if os.path.exists(path(name)):
            continue
        encoder = kind.from_pretrained(o["model"], subfolder=name, torch_dtype=torch.float32)
        ids = torch.zeros(1, encoder.config.max_position_embeddings, dtype=torch.int64)
        with torch.inference_mode():
            save(openvino.convert_model(Text(encoder).eval(), example_input=ids, input=[[1, ids.shape[1]]]), name)
        del encoder


class Decoder(torch.nn.Module):
    def __init__(self, vae):
        super().__init__()
        self.vae = vae

    def forward(self, latents):
        return self.vae.decode(latents, return_dict=False)[0]


def decoder():
    if os.path.exists(path("vae")):
        return
    vae = AutoencoderKL.from_pretrained(o["model"], subfolder="vae", torch_dtype=torch.float32)
    latents = torch.randn(1, vae.config.latent_channels, 16, 16)
    shape = [1, vae.config.latent_channels, -1, -1]
    with torch.inference_mode():
        save(openvino.convert_model(Decoder(vae).eval(), example_input=latents, input=[shape]), "vae")


for part in o["parts"]:
    {"unet": unet, "encoders": encoders, "decoder": decoder}[part]()
answer(done=True)
