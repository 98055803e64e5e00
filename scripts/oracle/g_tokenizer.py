"""Token ids of prompts that tokenizers disagree about."""

from __future__ import annotations

from golden import GOLDEN, made, write_json
from clip_tokenizers import load_tokenizers

PROMPTS = [
    "", " ", "   \t\n ", "red apple", "Red APPLE", "  red   apple  ", "red\tapple\nred apple", "a photo of a cat, 4k, highly-detailed!!!",
    "it's a dog's life; they're we've I'll he'd don't", "IT'S", "1234567890 3.14159 2nd", "woman health worker: dark skin tone",
    "\U0001F34E", "\U0001F468\u200D\U0001F469\u200D\U0001F467 family", "\u2764\uFE0F heart", "caf\u00E9", "cafe\u0301", "na\u00EFve fa\u00E7ade \u00DCber stra\u00DFe",
    "\u4E2D\u6587 \u65E5\u672C\u8A9E \uD55C\uAD6D\uC5B4", "\u0420\u0443\u0441\u0441\u043A\u0438\u0439 \u0415\u043B\u043B\u03B7\u03BD\u03B9\u03BA\u03AC", "\u0130stanbul \u01C5 \uFB01sh", "\uFF21\uFF22\uFF23 \u00A0nbsp \u2003em\u200Bzero",
    "(masterpiece:1.2), [low quality] {x|y} <lora:foo:0.8>", "<|endoftext|> after", "<|startoftext|>a<|endoftext|>", "a!b ! !! !!!", "e-mail: a_b@c.de/#x?y=1&z=%20",
    "don\u2019t \u201Cquote\u201D \u2014 dash\u2026", "x" * 60, "\u202Ertl \u0627\u0644\u0639\u0631\u0628\u064A\u0629", "a\u0000b", "\uFFFD \U0001F9FF\U0001F3FD",
    "apple " * 29 + "end", "apple " * 30 + "end", "apple " * 31 + "end",
    "a very long prompt about a castle on a hill above the sea with birds, clouds, ships, people, trees, flowers, rivers and a bridge at sunset, golden hour",
]


def make() -> None:
    first, second = load_tokenizers()
    cases = []
    for prompt in PROMPTS:
        padded = [t(prompt, padding="max_length", max_length=t.model_max_length, truncation=True).input_ids for t in (first, second)]
        whole, whole_2 = (t(prompt).input_ids for t in (first, second))
        cut = first.batch_decode([whole[first.model_max_length - 1 : -1]])[0] if len(whole) > first.model_max_length else None
        cases.append({"prompt": prompt, "ids": padded[0], "ids2": padded[1], "untruncated": whole, "untruncated2": whole_2, "cut": cut})
    write_json(GOLDEN / "tokenizer.json", {"cases": cases}, made(
        "tokenizer", seed="none", tolerance="0: integers",
        tokenizers="ids: models/koala-emoji/tokenizer, padded with <|endoftext|>; ids2: tokenizer_2, padded with !; both to 32",
    ))
