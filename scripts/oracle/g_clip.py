"""CLIP as a whole: gradients of every parameter for the contrastive loss in float64; 50 steps of AdamW; and the merges of a BPE."""

from __future__ import annotations

import collections
import json

import torch
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import CLIPConfig, CLIPModel

from fill import fill, fill_model
from g_text import token_ids
from g_training import gradients
from golden import GOLDEN, made, write_json

SIZES = {"num_attention_heads": 2, "num_hidden_layers": 2, "hidden_size": 32, "intermediate_size": 64}
CONFIG = {
    "projection_dim": 24,
    "logit_scale_init_value": 2.6592,
    "text_config": SIZES | {"vocab_size": 3202, "max_position_embeddings": 32, "hidden_act": "gelu", "bos_token_id": 3200, "eos_token_id": 3201, "pad_token_id": 3201},
    "vision_config": SIZES | {"image_size": 16, "patch_size": 8, "hidden_act": "quick_gelu"},
}
#: Pairs that fit beside each picture's own: 0 and 2 have one caption.
PAIRS, SAME = 4, (0, 2)
STEPS, BATCHES, RATE, DECAY, CLIP_NORM = 50, 5, 1e-3, 1e-2, 1.0
#: ln 100, where the scale ends: the second case begins above it.
SCALES = {"learning": 2.6592, "at its end": 4.7}

#: Words and how often they occur, drawn by the fill rule: few letters, so that many words share each pair and no two pairs
#: are equally frequent for long.
LETTERS, WORDS, MOST = "aest", 120, 997


def match() -> torch.Tensor:
    fits = torch.eye(PAIRS)
    fits[SAME[0], SAME[1]] = fits[SAME[1], SAME[0]] = 1
    return fits / fits.sum(1, keepdim=True)


def model(scale: float) -> CLIPModel:
    clip = fill_model(CLIPModel(CLIPConfig(**CONFIG)))
    clip.logit_scale.data.fill_(scale)
    return clip


def ids(index: int) -> torch.Tensor:
    """Rows of the text golden, each batch in another order, with the end that this config knows."""
    rows = torch.tensor(token_ids())[[(i + index) % 4 for i in range(PAIRS)]]
    rows[SAME[1]] = rows[SAME[0]]
    return rows


def loss(clip: CLIPModel, dtype: torch.dtype, index: int = 0) -> torch.Tensor:
    picture = fill(f"input.picture.{index}", (PAIRS, 3, 16, 16)).to(dtype)
    images = clip.get_image_features(pixel_values=picture)
    texts = clip.get_text_features(input_ids=ids(index))
    images, texts = (getattr(x, "pooler_output", x) for x in (images, texts))
    images, texts = (x / x.norm(dim=-1, keepdim=True) for x in (images, texts))
    logits = clip.logit_scale.clamp(max=torch.log(torch.tensor(100.0, dtype=dtype))).exp() * images @ texts.T
    target = match().to(dtype)
    return (torch.nn.functional.cross_entropy(logits, target) + torch.nn.functional.cross_entropy(logits.T, target)) / 2


def curve(dtype: torch.dtype) -> list[float]:
    clip = model(SCALES["learning"]).to(dtype).requires_grad_(True)
    optimizer = torch.optim.AdamW(clip.parameters(), lr=RATE, weight_decay=DECAY)
    losses = []
    for step in range(STEPS):
        value = loss(clip, dtype, step % BATCHES)
        optimizer.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(clip.parameters(), CLIP_NORM)
        optimizer.step()
        losses.append(float(value.detach()))
    return losses


def drawn_words() -> dict[str, int]:
    draws = (fill("input.words", (WORDS, 8)).double() + 1) / 2
    rows = [[float(x) for x in row] for row in draws]
    texts = {"".join(LETTERS[int(x * len(LETTERS))] for x in row[2 : 4 + int(row[1] * 5)]): 1 + int(row[0] * MOST) for row in rows}
    return texts | {"Caf\u00e9 caf\u00e9s": 613, "it's 22 tests!": 421}


def words(tokenizer: Tokenizer) -> dict[tuple[str, ...], int]:
    """Words as single bytes, with how often each occurs."""
    counts: collections.Counter = collections.Counter()
    for text, times in drawn_words().items():
        for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(tokenizer.normalizer.normalize_str(text)):
            counts[(*word[:-1], word[-1] + "</w>")] += times
    return counts


def is_unique(counts: dict[tuple[str, ...], int], merges: list[tuple[str, str]]) -> bool:
    """Whether after `merges` one pair is the most frequent."""
    pairs: collections.Counter = collections.Counter()
    for word, times in counts.items():
        tokens = list(word)
        for merge in merges:
            i = 0
            while i < len(tokens) - 1:
                if (tokens[i], tokens[i + 1]) == merge:
                    tokens[i : i + 2] = ["".join(merge)]
                i += 1
        for pair in zip(tokens, tokens[1:]):
            pairs[pair] += times
    best = [n for _, n in pairs.most_common(2)]
    return len(best) == 2 and best[0] > best[1]


def bpe() -> dict:
    """Merges of the `tokenizers` library while one pair is the most frequent: of equals it takes any."""
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()])
    split = Regex(r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(split, "removed", invert=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    texts = [text for text, times in drawn_words().items() for _ in range(times)]
    trainer = trainers.BpeTrainer(vocab_size=600, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), end_of_word_suffix="</w>", show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    merges = [tuple(pair) for pair in json.loads(tokenizer.to_str())["model"]["merges"]]
    counts = words(tokenizer)
    sure = next(i for i in range(len(merges)) if not is_unique(counts, merges[:i]))
    return {"words": drawn_words(), "merges": [" ".join(pair) for pair in merges[:sure]]}


def make() -> None:
    about = made("clip", tolerance="gradients 1e-4 of each norm and 1e-6 of that of all: float32 sums; the curve 1e-3: 50 steps of such sums; merges 0")
    cases = {}
    for name, scale in SCALES.items():
        clip = model(scale)
        cases[name] = {"logitScale": scale} | gradients(clip, lambda: loss(clip, torch.float64))
    exact, single = curve(torch.float64), curve(torch.float32)
    error = max(abs(a - b) / a for a, b in zip(exact, single))
    config = json.loads(CLIPModel(CLIPConfig(**CONFIG)).config.to_json_string(use_diff=False)) | {"architectures": ["CLIPModel"]}
    settings = {"same": SAME, "inputIds": [ids(i).tolist() for i in range(BATCHES)], "steps": STEPS, "rate": RATE, "weightDecay": DECAY, "maxNorm": CLIP_NORM}
    golden = {"config": config, "settings": settings, "gradients": cases, "curve": {"losses": exact, "float32Error": float(f"{error:.2g}")}, "bpe": bpe()}
    write_json(GOLDEN / "clip.json", golden, about, depth=4)
