"""PixArt: tiny α and Σ folders, their transformers, T5 encoder, SentencePiece ids and whole pictures by diffusers' pipelines."""

from __future__ import annotations

import io
import json
import shutil
from typing import Any

import diffusers
import numpy as np
import torch
from transformers import T5Config, T5EncoderModel, T5Tokenizer

from families import vae
from fill import fill, fill_model
from g_pictures import psnr, shaken
from golden import GOLDEN, census, made, model_folder, relative_error, write_json, write_tensors

FOLDER = GOLDEN / "pixart"
TOKENS, PIECES = 9, 500

#: The fields of the published configs (facts: Sigma edfd592; alpha without interpolation_scale), widths small.
DIT = {
    "activation_fn": "gelu-approximate", "attention_bias": True, "attention_head_dim": 12, "attention_type": "default",
    "caption_channels": 32, "cross_attention_dim": 48, "dropout": 0.0, "in_channels": 4, "norm_elementwise_affine": False,
    "norm_eps": 1e-6, "norm_num_groups": 32, "norm_type": "ada_norm_single", "num_attention_heads": 4, "num_embeds_ada_norm": 1000,
    "num_layers": 3, "out_channels": 8, "patch_size": 2, "upcast_attention": False,
}
MODELS: dict[str, dict[str, Any]] = {
    # sample_size 128 is what tells alpha's pipeline to give sizes
    "alpha": {"pipeline": "PixArtAlphaPipeline", "transformer": DIT | {"sample_size": 128}, "scaling": 0.18215},
    "sigma": {
        "pipeline": "PixArtSigmaPipeline", "scaling": 0.13025,
        "transformer": DIT | {"sample_size": 128, "interpolation_scale": 2, "use_additional_conditions": False},
    },
}
T5 = {
    "d_ff": 80, "d_kv": 16, "d_model": 32, "dense_act_fn": "gelu_new", "dropout_rate": 0.1, "feed_forward_proj": "gated-gelu",
    "layer_norm_epsilon": 1e-6, "num_heads": 3, "num_layers": 3, "relative_attention_max_distance": 128,
    "relative_attention_num_buckets": 32, "vocab_size": PIECES + 100 + 28,  # as T5's 32000 + 100 are padded to 32128
}
#: Latents [2, 4, h, w] with one timestep a picture; sizes in pixels as the pipeline would tell them.
CASES = {
    "square": {"height": 8, "width": 8, "timesteps": [601, 601]},
    "wide": {"height": 6, "width": 10, "timesteps": [37, 981]},
}
#: Real tokens of each text of the encoder's case: one full, one with padding, longer than T5's largest distance.
LENGTHS = [150, 37]

SENTENCES = [
    "a red apple on a table", "", " ", "  two   spaces  ", "A Capital Letter", "it's 12:30, isn't it?", "naïve café déjà vu",
    "ｆｕｌｌ ｗｉｄｔｈ", "ﬁne ligatures ½ ²", "an emoji 🍎 and 漢字", "</s> inside", "a<extra_id_0>b <pad>", "line\nbreak\ttab", "x" * 40,
    "…“quotes”—dash", "e\u0301 combined", "no\u00a0break\u200bzero", "under_score @ # $ %", "1234567890", "ΑΒΓΣ ς",
]

REQUESTS: dict[str, dict[str, Any]] = {
    "alpha": {"model": "alpha", "steps": 5, "guidance": 4.5, "width": 64, "height": 64, "seed": 1},
    "alpha-wide-negative-two": {
        "model": "alpha", "steps": 4, "guidance": 3.0, "width": 80, "height": 48, "seed": 2, "negative": "Blurry", "count": 2,
    },
    "sigma": {"model": "sigma", "steps": 5, "guidance": 4.5, "width": 64, "height": 64, "seed": 3},
    "sigma-wide": {"model": "sigma", "steps": 6, "guidance": 2.0, "width": 48, "height": 80, "seed": 4, "prompt": "  A Red APPLE "},
    "sigma-unguided": {"model": "sigma", "steps": 3, "guidance": 1.0, "width": 64, "height": 48, "seed": 5},
    "sigma-long": {"model": "sigma", "steps": 2, "guidance": 4.5, "width": 64, "height": 64, "seed": 6, "prompt": "a long prompt, " * 80},
}


def train_pieces() -> bytes:
    """A SentencePiece model of T5's kind (unigram, nmt_nfkc; pad 0, end 1, unknown 2) on the emoji model's own words."""
    import sentencepiece

    vocabulary = json.loads((model_folder() / "tokenizer" / "vocab.json").read_text(encoding="utf-8"))
    words = sorted(word[:-4] for word in vocabulary if word.endswith("</w>") and word[:-4].isascii() and word[:-4].isalpha())
    lines = [" ".join(words[i : i + 7]) for i in range(0, len(words), 3)] + [s for s in SENTENCES if s.strip().isascii() and "<" not in s]
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=out, vocab_size=PIECES, model_type="unigram", pad_id=0, eos_id=1, unk_id=2,
        bos_id=-1, num_threads=1, minloglevel=2,
    )
    return out.getvalue()


def transformer_case(model, config: dict[str, Any], case: dict[str, Any], dtype: torch.dtype) -> torch.Tensor:
    x = {
        "sample": fill("input.sample", (2, 4, case["height"], case["width"])),
        "text": fill("input.encoder_hidden_states", (2, TOKENS, config["caption_channels"])),
    }
    sizes = torch.tensor([[8.0 * case["height"], 8.0 * case["width"]]] * 2, dtype=dtype)
    ratio = torch.tensor([[case["height"] / case["width"]]] * 2, dtype=dtype)
    mask = torch.ones(2, TOKENS)
    mask[1, 5:] = 0
    return model(
        x["sample"].to(dtype), encoder_hidden_states=x["text"].to(dtype), timestep=torch.tensor(case["timesteps"]),
        encoder_attention_mask=mask.to(dtype), added_cond_kwargs={"resolution": sizes, "aspect_ratio": ratio},
    ).sample


def encoder_case(model, dtype: torch.dtype) -> torch.Tensor:
    ids = torch.tensor([[(37 * i + 11 * n) % PIECES for i in range(LENGTHS[0])] for n in range(2)])
    mask = (torch.arange(LENGTHS[0])[None] < torch.tensor(LENGTHS)[:, None]).to(torch.int64)
    return model.to(dtype)(ids, attention_mask=mask).last_hidden_state


def draw(pipe, r: dict[str, Any]) -> torch.Tensor:
    generators = [torch.Generator("cpu").manual_seed(r["seed"] + i) for i in range(r.get("count", 1))]
    images = pipe(
        prompt=r.get("prompt", "a red apple on a table"), negative_prompt=r.get("negative", ""), num_inference_steps=r["steps"],
        guidance_scale=r["guidance"], width=r["width"], height=r["height"], num_images_per_prompt=len(generators),
        generator=generators, use_resolution_binning=False, clean_caption=False,
    ).images
    return torch.from_numpy(np.stack([np.asarray(image) for image in images]))


def make() -> None:
    about = made(
        "pixart", seed="each request names its own: picture i from torch.Generator('cpu').manual_seed(seed + i)",
        tolerance="1e-4 of the largest magnitude and 50 dB: float32Error and shakenDb say how far rounding alone moves them",
    )
    shutil.rmtree(FOLDER, ignore_errors=True)
    (FOLDER / "tokenizer").mkdir(parents=True)
    pieces = train_pieces()
    (FOLDER / "tokenizer" / "spiece.model").write_bytes(pieces)
    # as the published folders have them: the vocabulary and a short config
    write_config = {"tokenizer_class": "T5Tokenizer", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>", "extra_ids": 100, "model_max_length": 512}
    (FOLDER / "tokenizer" / "tokenizer_config.json").write_text(json.dumps(write_config) + "\n")
    tokenizer = T5Tokenizer.from_pretrained(FOLDER / "tokenizer")
    write_json(FOLDER / "tokenizer.json", {"cases": [{"text": s, "ids": tokenizer(s).input_ids} for s in SENTENCES]}, about, 3)

    text = fill_model(T5EncoderModel(T5Config(**T5)))
    text.shared.weight.copy_(fill("shared.weight", text.shared.weight.shape))  # filled last by its other name, encoder.embed_tokens
    tensors, pictures, index, requests = {}, {}, {}, {}
    with torch.no_grad():
        states = encoder_case(text, torch.float32)
        exact = encoder_case(text, torch.float64)
        text.float()
        tensors["t5"] = states
        index["t5"] = {"lengths": LENGTHS, "census": census(text), "float32Error": float(f"{relative_error(states, exact):.2g}")}
        for name, spec in MODELS.items():
            model = fill_model(diffusers.PixArtTransformer2DModel(**spec["transformer"]))
            parts = {
                "transformer": model, "text_encoder": text, "tokenizer": tokenizer,
                "vae": fill_model(diffusers.AutoencoderKL(**vae(layers_per_block=2, scaling_factor=spec["scaling"]))),
                "scheduler": diffusers.DPMSolverMultistepScheduler(),
            }
            pipe = getattr(diffusers, spec["pipeline"])(**parts)
            pipe.set_progress_bar_config(disable=True)
            folder = FOLDER / name
            pipe.save_config(folder)
            for part in ("transformer", "vae", "scheduler"):
                parts[part].save_config(folder / part)
            text.config.architectures = ["T5EncoderModel"]
            text.config.save_pretrained(folder / "text_encoder")
            errors = {}
            for case, c in CASES.items():
                out = transformer_case(model, spec["transformer"], c, torch.float32)
                truth = transformer_case(model.double(), spec["transformer"], c, torch.float64)
                model.float()
                tensors[f"{name}.{case}"] = out
                errors[case] = float(f"{relative_error(out, truth):.2g}")
            index[name] = {"census": census(model), "float32Error": errors}
            moved = shaken(pipe)
            for request, r in REQUESTS.items():
                if r["model"] != name:
                    continue
                pictures[request] = draw(pipe, r)
                stability = psnr(pictures[request], draw(moved, r))
                print(f"{request}: {stability:.1f} dB when shaken, spread {pictures[request].double().std():.0f}")
                requests[request] = {**r, "shakenDb": round(stability, 1)}
    write_tensors(FOLDER / "expected.safetensors", tensors, about)
    write_tensors(FOLDER / "pictures.safetensors", pictures, about)
    write_json(FOLDER / "index.json", {"cases": CASES, "models": index, "requests": requests}, about, 3)
