"""The two CLIP tokenizers of the repository's model: the same vocabulary, another padding token."""

from __future__ import annotations

from golden import model_folder


def load_tokenizers():
    from transformers import CLIPTokenizer

    return tuple(CLIPTokenizer.from_pretrained(model_folder() / name) for name in ("tokenizer", "tokenizer_2"))
