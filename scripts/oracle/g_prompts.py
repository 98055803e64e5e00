"""Prompts longer than the encoders' context, weights of words and skipped layers: states by transformers, pictures by diffusers.

Where a prompt is cut into chunks and what its words weigh is written out by hand beside it: nothing here reads a prompt. A chunk is
framed and padded as its tokenizer does it and goes through the encoder alone; states are laid end to end. A token's state z becomes
z0 + w (z - z0), with z0 that of the empty text at the same position. SDXL's pooled vector is that of the first chunk, unweighted.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from clip_tokenizers import load_tokenizers
from families import CONTEXT, FAMILIES, build_pipeline
from g_pictures import psnr, shaken
from golden import GOLDEN, made, write_json, write_tensors

SIZE = {"width": 48, "height": 40}
LONG = "a red apple on a table, two dogs and a cat under a green tree by the river, a house with a blue roof, snow on the hill"
LONG_CHUNKS = [
    [["a red apple on a table, two dogs and a cat under a green tree by the river,", 1]],
    [[" a house with a blue roof, snow on the hill", 1]],
]
WEIGHTED = r"a (red:1.4) apple \(round\) on a (small, (wooden:1.5):0.6) table"
WEIGHTED_CHUNKS = [[["a ", 1], ["red", 1.4], [" apple (round) on a ", 1], ["small, ", 0.6], ["wooden", 0.9], [" table", 1]]]
EMPTY = [[]]


def request(family: str, seed: int, chunks: list, negative_chunks: list | None, **more: Any) -> dict[str, Any]:
    return {
        "family": family, "negative": None, "steps": 2, "guidance": 5.0, **SIZE, "seed": seed, "clipSkip": 0,
        "chunks": chunks, "negativeChunks": negative_chunks, **more,
    }


#: `negativeChunks` null: zeros, as SDXL has it where no negative prompt is given.
REQUESTS: dict[str, dict[str, Any]] = {
    "sd15-long": request("sd15", 1, LONG_CHUNKS, EMPTY, prompt=LONG),
    "sd15-weighted": request("sd15", 2, WEIGHTED_CHUNKS, [[["blurry", 1.5]]], prompt=WEIGHTED, negative="(blurry:1.5)"),
    "sd15-skip": request("sd15", 3, [[["a red apple", 1]]], EMPTY, prompt="a red apple", clipSkip=1, guidance=1.0),
    "sd2-skip-long": request("sd2", 4, LONG_CHUNKS, EMPTY, prompt=LONG, clipSkip=2),
    "sdxl-long": request("sdxl", 5, LONG_CHUNKS, None, prompt=LONG),
    "sdxl-weighted-long-negative": request(
        "sdxl", 6, WEIGHTED_CHUNKS, LONG_CHUNKS, prompt=WEIGHTED, negative=LONG),
    "sdxl-skip": request("sdxl", 7, [[["a red apple", 1]]], [[["blurry", 1]]], prompt="a red apple", negative="blurry", clipSkip=1),
}


#: Of which the prompt's states are kept too: every rule once for SD and once for SDXL.
STATES = ("sd15-weighted", "sd2-skip-long", "sdxl-weighted-long-negative", "sdxl-skip")


def frame(tokenizer: Any, chunk: list) -> tuple[list[int], list[float]]:
    """Ids and weights [CONTEXT] of a chunk."""
    own = [(i, weight) for text, weight in chunk for i in tokenizer(text, add_special_tokens=False).input_ids]
    assert len(own) <= CONTEXT - 2, (len(own), chunk)
    ids = [tokenizer.bos_token_id, *(i for i, _ in own), tokenizer.eos_token_id]
    padding = CONTEXT - len(ids)
    return ids + [tokenizer.pad_token_id] * padding, [1.0, *(float(w) for _, w in own), 1.0] + [1.0] * padding


def states_of(encoder: Any, ids: list[int], skip: int, is_xl: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """[1, CONTEXT, E] and what the encoder pools."""
    out = encoder(torch.tensor([ids]), output_hidden_states=True)
    if is_xl:
        return out.hidden_states[-(skip + 2)], out[0]
    text = getattr(encoder, "text_model", encoder)  # newer transformers have no model within
    return text.final_layer_norm(out.hidden_states[-(skip + 1)]), out[0]


def encode(encoders: list, chunks: list, skip: int) -> tuple[torch.Tensor, torch.Tensor]:
    """[1, CONTEXT * chunks, E of all encoders], and the last one's pooled vector [1, P]."""
    joined = []
    for tokenizer, encoder in encoders:
        is_xl = len(encoders) == 2
        empty, _ = states_of(encoder, frame(tokenizer, [])[0], skip, is_xl)
        read = []
        for index, chunk in enumerate(chunks):
            ids, weights = frame(tokenizer, chunk)
            z, vector = states_of(encoder, ids, skip, is_xl)
            read.append(empty + torch.tensor(weights)[None, :, None] * (z - empty))
            pooled = vector if index == 0 else pooled
        joined.append(torch.cat(read, 1))
    return torch.cat(joined, 2), pooled


def embeds(pipe: Any, r: dict[str, Any]) -> dict[str, torch.Tensor]:
    encoders = [(pipe.tokenizer, pipe.text_encoder)]
    if hasattr(pipe, "text_encoder_2"):
        encoders.append((pipe.tokenizer_2, pipe.text_encoder_2))
    count = max(len(r["chunks"]), len(r["negativeChunks"] or []))
    filled = lambda chunks: chunks + [[]] * (count - len(chunks))  # noqa: E731
    text, pooled = encode(encoders, filled(r["chunks"]), r["clipSkip"])
    if r["negativeChunks"] is None:
        other, other_pooled = torch.zeros_like(text), torch.zeros_like(pooled)
    else:
        other, other_pooled = encode(encoders, filled(r["negativeChunks"]), r["clipSkip"])
    both = {"prompt_embeds": text, "negative_prompt_embeds": other}
    return both | ({"pooled_prompt_embeds": pooled, "negative_pooled_prompt_embeds": other_pooled} if len(encoders) == 2 else {})


def picture(pipe: Any, r: dict[str, Any], told: dict[str, Any]) -> torch.Tensor:
    """uint8 [1, height, width, 3]"""
    drawn = pipe(
        **told, num_inference_steps=r["steps"], guidance_scale=r["guidance"], height=r["height"], width=r["width"],
        generator=torch.Generator("cpu").manual_seed(r["seed"]),
    )
    return torch.from_numpy(np.array(drawn.images[0]))[None]


def check_skip(pipe: Any, r: dict[str, Any], told: dict[str, torch.Tensor], drawn: torch.Tensor) -> None:
    """Nothing but what diffusers' own `clip_skip` does; for the negative prompt it has it only when that is encoded as a prompt."""
    if not hasattr(pipe.text_encoder, "text_model"):  # which older transformers have within, and diffusers looks for
        object.__setattr__(pipe.text_encoder, "text_model", pipe.text_encoder)  # no submodule: that would be a circle
    for text, name in ((r["prompt"], "prompt_embeds"), (r["negative"] or "", "negative_prompt_embeds")):
        own = pipe.encode_prompt(
            prompt=text, device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=False, clip_skip=r["clipSkip"],
        )
        assert torch.allclose(own[0], told[name], atol=1e-6), (r, name)
    if r["guidance"] <= 1:
        assert torch.equal(drawn, picture(pipe, r, {"prompt": r["prompt"], "clip_skip": r["clipSkip"]}))


def make() -> None:
    tokenizers = load_tokenizers()
    tensors, requests = {}, {}
    with torch.no_grad():
        for name, r in REQUESTS.items():
            pipe = build_pipeline(FAMILIES[r["family"]], *tokenizers)
            moved = shaken(pipe)
            told = embeds(pipe, r)
            drawn = picture(pipe, r, told)
            if len(r["chunks"]) == 1 and r["clipSkip"] > 0:
                check_skip(pipe, r, told, drawn)
            stability = psnr(drawn, picture(moved, r, embeds(moved, r)))
            plain = psnr(drawn, picture(pipe, r, {"prompt": r["prompt"], "negative_prompt": r["negative"]}))
            print(f"{name}: {stability:.1f} dB when shaken, {plain:.1f} dB from what diffusers draws of the prompt as it stands")
            assert plain < 40, name
            tensors[name] = drawn
            if name in STATES:
                tensors |= {f"{name}.{part}": value for part, value in told.items() if not part.startswith("negative")}
            requests[name] = {**r, "shakenDb": round(stability, 1)}
    about = made(
        "prompts", seed="each request names its own, as in pictures",
        tolerance="states 1e-4 of the largest magnitude; pictures 50 dB, as in pictures",
    )
    write_tensors(GOLDEN / "prompts.safetensors", tensors, about)
    write_json(GOLDEN / "prompts.json", {"requests": requests}, about)
