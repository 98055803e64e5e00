"""The small parquet files of test/fixtures/data, and what PIL makes of the picture in them.

    pip install pyarrow==26.0.1      # beside requirements.txt
    python scripts/oracle/data_fixtures.py

Pictures are stripes and ramps made of their indices, so that nothing is downloaded. `view.png` is `picture.png`, 40 x 30,
brought to 16 x 16 as diffusers' train_text_to_image_sdxl.py does it (shorter side by Lanczos, then a crop in the middle);
`views.txt` holds where that crop lies for several sizes. The rounding is torchvision's: int() of the long side, round()
of the corner.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import PIL
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

OUT = Path(__file__).resolve().parents[2] / "test" / "fixtures" / "data"


def picture(seed: int, width: int = 24, height: int = 16) -> Image.Image:
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    planes = [
        127.5 + 127.5 * np.sin(0.35 * x + 0.2 * y + seed),
        255 * x / (width - 1),
        255 * y / (height - 1) * (0.5 + 0.5 * np.cos(seed + 0.15 * x)),
    ]
    return Image.fromarray(np.stack(planes, -1).round().astype(np.uint8), "RGB")


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def write(name: str, table: pa.Table, **options: object) -> None:
    pq.write_table(table, OUT / name, **options)


def tables() -> None:
    pictures = [png(picture(i)) for i in range(5)]
    pictures[3] = pictures[3][: len(pictures[3]) // 2]
    # as Hugging Face's `datasets` writes an Image feature; two row groups; one broken picture, one row without a caption
    image = pa.array([{"bytes": b, "path": f"{i}.png"} for i, b in enumerate(pictures)])
    write(
        "images.parquet",
        pa.table({"image": image, "text": ["zero", "one", "", "three", "four"], "kind": ["a", "b", "a", "b", "a"]}),
        row_group_size=3,
        compression="zstd",
    )
    # the columns of ye-pop: file names, URLs and three captions
    write(
        "ye-pop.parquet",
        pa.table(
            {
                "filename": ["a.png", "b.png", "c.png"],
                "url": [f"https://example.com/pictures/{name}.png?size=big" for name in "abc"],
                "cogvlm_caption": ["cog a", "cog b", "cog c"],
                "llava_caption": ["llava a", "", "llava c"],
                "alt_txt": ["alt a", "alt b", "alt c"],
            }
        ),
        compression="snappy",
    )
    # bytes and texts that are not marked as text; several captions a picture
    write(
        "raw.parquet",
        pa.table(
            {
                "jpg": pa.array(pictures[:2], pa.binary()),
                "caption": pa.array([["first", "second"], ["third"]], pa.list_(pa.string())),
                "weight": [2.0, 1.0],
            }
        ),
        compression="gzip",
    )


def views() -> None:
    size = 16
    image = picture(7, 40, 30)
    image.save(OUT / "picture.png")
    lines = [
        f"# python scripts/oracle/data_fixtures.py (Pillow {PIL.__version__}, numpy {np.__version__}, pyarrow {pa.__version__})",
        "# original width and height, resized width and height, left and top of the crop",
    ]
    for width, height in [image.size, (30, 40), (641, 480), (1000, 333), (16, 16), (17, 16), (1023, 767)]:
        resized = (int(size * width / height), size) if width > height else (size, int(size * height / width))
        left, top = (max(0, int(round((side - size) / 2.0))) for side in resized)
        lines.append(f"{width} {height} {resized[0]} {resized[1]} {left} {top}")
        if (width, height) == image.size:
            image.resize(resized, Image.LANCZOS).crop((left, top, left + size, top + size)).save(OUT / "view.png")
    (OUT / "views.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    OUT.mkdir(parents=True, exist_ok=True)
    tables()
    views()
