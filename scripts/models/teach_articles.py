"""Teaches the text encoders of models/koala-emoji that articles and framing words change nothing.

Why: the model's captions are emoji names, "red apple". The token "a" stood there for the letter button only, so that "a red apple" drew
a purple box. After this step "a red apple", "The red apple." and "an emoji of a red apple" draw what "red apple" draws.

How: the encoders as they stand are the teacher, frozen. The student gets a caption in a frame, and is to answer at the caption's tokens, at
the end mark and at the padding what the teacher answers to the bare caption, so many places further left. At the words of a frame it is to
answer a state that cross-attention passes over: before the caption that of the empty prompt's padding, after it that of the caption's
own last padding (inserted there by hand, they move the U-Net's guidance by a thousandth). "one" keeps its state, for "one o'clock". Bare
captions and the empty prompt stay as they are: half of every batch, with more weight. Errors are measured through the U-Net's key and value projections, which is all it sees of them.
Only the encoders change; names, shapes and float16 stay.

    python scripts/models/teach_articles.py --captions node_modules/emojibase-data/en/data.json --model models/koala-emoji --out ../taught

Data: labels and tags of emojibase-data (MIT). Versions: scripts/oracle/requirements.txt. Time: 18 minutes of processor time in two
processes, half an hour where other work shared the two cores.
The teacher is what --model holds; to make the shipped weights again, take the folder from before they were committed.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import pathlib
import random
import re
import time

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

ARTICLES = ["a", "an", "the", "one"]
KINDS = ["picture", "image", "photo", "emoji", "icon", "drawing", "photograph", "illustration"]
TOKENS, BOS, EOS = 32, 3200, 3201
BATCH, RATE = 64, 1e-3
#: Where a token's target comes from, if not from the teacher's state at that position: the neutral state; nowhere (not compared).
NEUTRAL, ANY = -1, -2
#: A caption in parts, words between them: ("red apple",) or ("red apple", "and", "cat face").
Caption = tuple[str, ...]


def captions(file: pathlib.Path) -> tuple[list[Caption], list[Caption]]:
    """Names, as the model learned them; and other text, that it may stay there as it is: tags, pairs, words in any order."""
    entries = json.loads(file.read_text())
    names = sorted({e["label"].lower() for e in entries})
    toned = sorted({s["label"].lower() for e in entries for s in e.get("skins", [])})
    tags = sorted({tag.lower() for e in entries for tag in e.get("tags", [])})
    words = sorted({word for text in names + tags for word in text.split()})
    pick = random.choice
    others = [(text,) for text in tags + random.sample(toned, 800)]
    others += [(pick(names), pick(["and", "with", "on", "in"]), pick(names)) for _ in range(1500)]
    others += [(f"{pick(tags)} {pick(names)}",) for _ in range(1000)]
    others += [(" ".join(pick(words) for _ in range(random.randint(1, 6))),) for _ in range(1500)]
    return [(name,) for name in names], others


class Texts:
    """Text to rows of token ids; words are tokenized one by one, which for CLIP is the same as together."""

    def __init__(self, tokenizer: CLIPTokenizer, names: list[Caption]) -> None:
        self.tokenizer, self.pad = tokenizer, tokenizer.pad_token_id
        self.starts = {tuple(name[0].split()[:2]) for name in names}  # "a button" is no framed "button"

    def ids(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False).input_ids

    def bare(self, caption: Caption) -> tuple[list[int], list[int]]:
        """Ids, and for each the place of its target. An article that opens a real name is not held to its old state."""
        ids = self.ids(" ".join(caption))
        free = next((i for i, word in enumerate(" ".join(caption).split()) if word not in ("a", "an", "the")), 0)
        source = [ANY if 1 <= i <= free else i for i in range(TOKENS)]
        return [BOS, *ids, EOS, *[self.pad] * (TOKENS - 2 - len(ids))], source

    def framed(self, caption: Caption) -> tuple[list[int], list[int]] | None:
        before: list[str] = []
        if random.random() < 0.25:
            before += [*random.choice([["a"], ["an"], ["the"], []]), random.choice(KINDS), "of"]
        if random.random() < 0.8:
            before += [random.choice([*ARTICLES, "a", "a"])]
        after = [*["emoji"] * (random.random() < 0.15), *["."] * (random.random() < 0.2 and caption[-1][-1].isalnum())]
        inner = [random.choice(ARTICLES)] * (len(caption) > 1 and random.random() < 0.8)
        if not before + after + inner or tuple(" ".join([*before, *caption]).split()[:2]) in self.starts:
            return None
        ids, source, place = [BOS], [0], 1
        parts = [(before, NEUTRAL), (caption[:-1], None), (inner, NEUTRAL), (caption[-1:], None), (after, TOKENS - 1)]
        for word, role in [(word, role) for words, role in parts for word in " ".join(words).split()]:
            for token in self.ids(word):
                ids.append(token)
                source.append(place if role is None else ANY if word == "one" else role)
                place += role is None
        if len(ids) >= TOKENS - 6:
            return None
        return [*ids, EOS, *[self.pad] * (TOKENS - 1 - len(ids))], [*source, *range(place, place + TOKENS - len(ids))]


def seen(model: pathlib.Path, begin: int, width: int) -> torch.Tensor:
    """The metric of the U-Net's cross-attention on one encoder's states: a factor R, so that |error @ R| is the error of keys and values."""
    tensors = load_file(model / "unet" / "diffusion_pytorch_model.safetensors").items()
    rows = [v.float() for name, v in tensors if name.endswith(("attn2.to_k.weight", "attn2.to_v.weight"))]
    gram = (part := torch.cat(rows)[:, begin : begin + width]).T @ part
    return torch.linalg.cholesky(gram * width / gram.trace() + 0.2 * torch.eye(width))


def states(encoder: torch.nn.Module, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
    out = encoder(ids, output_hidden_states=True)
    return out.hidden_states[-2], getattr(out, "text_embeds", None)


def teach(args: argparse.Namespace, name: str, kind: type, begin: int, steps: int) -> None:
    random.seed(0)
    student = kind.from_pretrained(args.model / name, dtype=torch.float32)
    names, others = captions(args.captions)
    texts = Texts(CLIPTokenizer.from_pretrained(args.model / name.replace("text_encoder", "tokenizer")), names)
    metric = seen(args.model, begin, student.config.hidden_size)
    random.shuffle(names)
    hard = {c for c in names if re.match(r"(a|one)\b", c[0])}  # "a button (blood type)", "one o'clock": as a frame begins
    held, known = [c for c in names if c not in hard][:150], set(names)
    pool = [c for c in [*names, *others] if c not in held and len(texts.ids(" ".join(c))) <= TOKENS - 6]
    weights = [160 if c in hard else 8 if c in known else 1 for c in pool]

    def answers(of: list[Caption]) -> tuple[torch.Tensor, torch.Tensor | None]:
        with torch.no_grad():
            parts = [states(student, torch.tensor([texts.bare(c)[0] for c in of[i : i + 200]])) for i in range(0, len(of), 200)]
        return torch.cat([s for s, _ in parts]), None if parts[0][1] is None else torch.cat([p for _, p in parts])

    goal, goal_pooled = answers([("",), *pool, *held])
    neutral = goal[0, 8:24].mean(0)
    scale = ((goal - goal.mean((0, 1))) @ metric).square().sum(-1).mean()
    pooled_scale = 1.0 if goal_pooled is None else goal_pooled.var(0).sum()

    def loss(rows: list[tuple[list[int], list[int]]], index: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Errors of each row's states and pooled state, as shares of how far captions differ."""
        source = torch.tensor([s for _, s in rows])
        target = goal[index][torch.arange(len(rows))[:, None], source.clamp(min=0)]
        target = torch.where((source == NEUTRAL)[..., None], neutral, target)
        state, pooled = states(student, torch.tensor([i for i, _ in rows]))
        error = (((state - target) @ metric).square().sum(-1) * (source != ANY)).mean(-1) / scale
        return error, torch.zeros(1) if pooled is None else (pooled - goal_pooled[index]).square().sum(-1) / pooled_scale

    def framed(of: list[int]) -> list[tuple[tuple[list[int], list[int]], int]]:
        return [(row, i + 1) for i in of if (row := texts.framed([*pool, *held][i]))]

    tests = framed([*range(len(pool), len(pool) + 150)] * 4)
    def test() -> str:
        with torch.no_grad():
            bare = loss([texts.bare(c) for c in held], list(range(len(pool) + 1, len(pool) + 151)))
            frame = loss(*map(list, zip(*tests)))
        return " ".join(f"{x.mean():.5f}" for x in (*frame, *bare))

    optimizer, start = torch.optim.Adam(student.parameters(), lr=RATE), time.time()
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, steps, pct_start=0.05)
    print(f"{name}: errors on 150 names kept back, framed (states, pooled) and bare (states, pooled)\n  before: {test()}", flush=True)
    for step in range(steps):
        chosen = random.choices(range(len(pool)), weights, k=BATCH)
        pairs = [(row, i + 1) for i in chosen[: BATCH // 2] if (row := texts.framed(pool[i]))]
        bares = [(texts.bare(("",)), 0), *[(texts.bare(pool[i]), i + 1) for i in chosen[BATCH // 2 :]]]
        error, pooled = loss(*map(list, zip(*[*pairs, *bares])))
        weight = torch.tensor([1.0] * len(pairs) + [8.0] + [4.0] * (len(bares) - 1))
        total = (weight * (error + 0.3 * pooled)).sum() / weight.sum()
        optimizer.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if (step + 1) % 500 == 0:
            print(f"  {name} {step + 1}: {test()}  {time.time() - start:.0f} s", flush=True)
    save(student, args.model / name / "model.safetensors", args.out / name)


def save(student: torch.nn.Module, old: pathlib.Path, folder: pathlib.Path) -> None:
    """The old file's names, shapes and dtypes, with the new values."""
    folder.mkdir(parents=True, exist_ok=True)
    values = {name.removeprefix("text_model."): value for name, value in student.state_dict().items()}
    with safe_open(old, "pt") as file:
        metadata = file.metadata()
    new = {name: values[name.removeprefix("text_model.")].to(v.dtype).reshape(v.shape).contiguous() for name, v in load_file(old).items()}
    save_file(new, folder / "model.safetensors", metadata=metadata)
    (folder / "model.safetensors").chmod(0o644)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--captions", type=pathlib.Path, required=True, help="en/data.json of emojibase-data")
    parser.add_argument("--model", type=pathlib.Path, required=True, help="the model as it is")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder for the two encoders")
    args = parser.parse_args()
    torch.set_num_threads(1)  # a process each: at this size two threads wait for each other
    both = [("text_encoder", CLIPTextModel, 0, 6000), ("text_encoder_2", CLIPTextModelWithProjection, 64, 3000)]
    processes = [multiprocessing.Process(target=teach, args=(args, *each)) for each in both]
    for process in processes:
        process.start()
    for process in processes:
        process.join()


if __name__ == "__main__":
    main()
