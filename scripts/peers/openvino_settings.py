"""How OpenVINO is asked to compute: fewest seconds for one at a time, in the precision of the contender."""


def settings(o, precision=None):
    precision = precision or o["precision"]
    # int8 is what the layers say themselves; what is left between them is bf16 where the processor has it
    kind = {"int8": o["floats"]}.get(precision, precision)
    chosen = {
        "INFERENCE_PRECISION_HINT": kind,
        "INFERENCE_NUM_THREADS": o["threads"],
        "PERFORMANCE_HINT": "LATENCY",
    }
    if o.get("cache"):
        chosen["CACHE_DIR"] = o["cache"]
    return chosen
