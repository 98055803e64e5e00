"""Golden of the fill rule: a few values of each kind of tensor, as float32 bits."""

from fill import fill
from golden import GOLDEN, made, write_json

CASES = [
    ("conv_in.weight", (4, 3, 3, 3)), ("down_blocks.0.resnets.0.norm1.weight", (9,)), ("conv_in.bias", (7,)),
    ("text_model.embeddings.token_embedding.weight", (5, 3)), ("input.sample", (2, 1, 3, 3)), ("time_embedding.linear_1.weight", (6, 5)),
    ("scalar", ()), ("naïve 🐨", (3,)), ("input.long", (70000,)),
]


def make() -> None:
    cases = []
    for name, shape in CASES:
        bits = fill(name, shape).flatten().numpy().view("uint32").tolist()
        # the long one by its ends and a sum of all bits modulo 2^32, so that no index is unchecked
        cases.append({
            "name": name, "shape": list(shape), "first": bits[:12], "last": bits[-3:], "bitsSum": sum(bits) % 2**32,
        })
    write_json(GOLDEN / "fill.json", {"cases": cases}, made("fill", tolerance="0: integer arithmetic, then one rounding to float32"))
