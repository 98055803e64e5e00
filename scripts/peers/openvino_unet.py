"""OpenVINO: forwards of a U-Net from its own file. {files, size, steps, threads, precision, cache}"""

import os

import numpy
import openvino
from common import answer, asked, since_start, timed
from openvino_settings import settings

o = asked()
suffix = "-int8" if o["precision"] == "int8" else ""
core = openvino.Core()
model = core.read_model(os.path.join(o["files"], f"unet-{o['size']}{suffix}.xml"))
model.reshape({port: [1, *list(port.partial_shape)[1:]] for port in model.inputs if port.partial_shape.rank.get_length() > 0})
request = core.compile_model(model, "CPU", settings(o)).create_infer_request()
ready = since_start()
rng = numpy.random.default_rng(0)
feeds = {i: rng.standard_normal(list(port.shape), dtype=numpy.float32) for i, port in enumerate(model.inputs)}
first, steps = timed(lambda: request.infer(feeds), o["steps"])
answer(ready=ready, first=first, steps=steps)
