"""Scoring: a whole CLIP with its preprocessing, and the distances between sets of features by other routes than ours."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel

from clip_tokenizers import load_tokenizers
from families import VOCABULARY
from fill import fill, fill_model
from golden import GOLDEN, made, relative_error, write_json, write_tensors

TEXT = {"vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 32, "eos_token_id": VOCABULARY - 1, "bos_token_id": VOCABULARY - 2, "pad_token_id": VOCABULARY - 1}
VISION = {"hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 3, "image_size": 32, "patch_size": 8, "hidden_act": "gelu"}
SIDE = VISION["image_size"]
#: Shrunk and cropped at the sides; enlarged, and cropped above and below; left as it is.
PICTURES = {"wide": (37, 50), "tall": (45, 20), "same": (SIDE, SIDE)}
TEXTS = ["red apple", "a woman with medium-dark skin tone, astronaut", "blue square"]
BICUBIC = Image.Resampling.BICUBIC


def picture(name: str) -> Image.Image:
    values = fill(f"input.picture.{name}", (*PICTURES[name], 3))
    return Image.fromarray(((values + 1) * 127.5).floor().to(torch.uint8).numpy())


def features(model: CLIPModel, pixels: torch.Tensor, ids: torch.Tensor) -> dict[str, torch.Tensor]:
    return {
        "pictures": model.get_image_features(pixel_values=pixels).pooler_output,
        "texts": model.get_text_features(input_ids=ids, attention_mask=torch.ones_like(ids)).pooler_output,
    }


def resize(image: Image.Image, size: tuple[int, int]) -> np.ndarray:
    """Width before height: Pillow always went so up to 12; 13 goes the other way for some shapes, a few levels away."""
    return np.asarray(image.resize((size[0], image.height), BICUBIC).resize(size, BICUBIC)).copy()


def padded(image: Image.Image) -> np.ndarray:
    """The longer side to SIDE, black around it: HPSv2's `ResizeMaxSize`, with PIL's bicubic filter."""
    scale = SIDE / max(image.size)
    resized = resize(image, tuple(round(n * scale) for n in image.size))
    out = np.zeros((SIDE, SIDE, 3), np.uint8)
    top, left = (SIDE - resized.shape[0]) // 2, (SIDE - resized.shape[1]) // 2
    out[top:top + resized.shape[0], left:left + resized.shape[1]] = resized
    return out


def frechet(x: np.ndarray, y: np.ndarray) -> float:
    """Eigenvalues of the product of covariances, which is not symmetric: another route than a symmetric root."""
    a, b = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = np.sqrt(np.maximum(np.linalg.eigvals(a @ b).real, 0)).sum()
    return float(((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(a) + np.trace(b) - 2 * root)


def kernel_distance(x: np.ndarray, y: np.ndarray) -> float:
    k = lambda a, b: (a @ b.T / a.shape[1] + 1) ** 3
    inside = lambda a: (k(a, a).sum() - np.trace(k(a, a))) / (len(a) * (len(a) - 1))
    return float(inside(x) + inside(y) - 2 * k(x, y).mean())


def make() -> None:
    about = made("evaluation", tolerance="pixels exactly; features 1e-4 of the largest magnitude, their float32 error is in index.json; distances 1e-9")
    folder = GOLDEN / "evaluation"
    model = fill_model(CLIPModel(CLIPConfig(text_config=TEXT, vision_config=VISION, projection_dim=24)))
    model.config.architectures = ["CLIPModel"]
    model.config.save_pretrained(folder / "clip")
    processor = CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE})
    processor.save_pretrained(folder / "clip")

    images = {name: picture(name) for name in PICTURES}
    pixels = processor(list(images.values()), return_tensors="pt").pixel_values
    tokenizer = load_tokenizers()[0]
    ids = torch.tensor(tokenizer(TEXTS, padding="max_length", max_length=TEXT["max_position_embeddings"]).input_ids)
    with torch.no_grad():
        ours = features(model, pixels, ids)
        exact = features(model.double(), pixels.double(), ids)
    resized = {name: resize(image, (21, 64)) for name, image in images.items()}
    write_tensors(folder / "expected.safetensors", {
        "pixels": pixels, **ours,
        **{f"resized.{name}": torch.from_numpy(value) for name, value in resized.items()},
        **{f"padded.{name}": torch.from_numpy(padded(image)) for name, image in images.items()},
    }, about)
    unit = {name: value / value.norm(dim=-1, keepdim=True) for name, value in exact.items()}

    x, y = (fill(f"input.{name}", (n, 12)).double().numpy() for name, n in (("x", 40), ("y", 50)))
    few = x[:6]
    symmetric = np.cov(fill("input.square", (30, 20)).double().numpy(), rowvar=False)
    write_json(folder / "index.json", {
        "pictures": {name: list(size) for name, size in PICTURES.items()},
        "texts": TEXTS,
        "float32Error": {name: float(f"{relative_error(value, exact[name]):.2g}") for name, value in ours.items()},
        "cosines": (unit["pictures"] @ unit["texts"].T).tolist(),
        "distances": {
            "frechet": frechet(x, y + 0.1), "frechetOfFew": frechet(few, y),
            "kernel": kernel_distance(x, y + 0.1),
        },
        "eigenvalues": np.linalg.eigvalsh(symmetric).tolist(),
    }, about)
