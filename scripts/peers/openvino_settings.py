"""How OpenVINO is asked to compute: fewest seconds for one at a time, in the precision of the contender."""

import os


def compiled(core, o, name, precision, batch, cells):
    """A network of `files` for that batch and that size, in latent cells."""
    model = core.read_model(os.path.join(o["files"], f"{name}.xml"))
    fixed = {}
    for port in model.inputs:
        shape = list(port.partial_shape)
        if len(shape) == 4:
            fixed[port] = [batch, shape[1], cells, cells]
        elif len(shape) > 0:
            fixed[port] = [batch, *shape[1:]]
    model.reshape(fixed)
    return core.compile_model(model, "CPU", settings(o, precision))


def settings(o, precision):
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
