"""OpenVINO: forwards of a U-Net from its own file. {model, files, size, steps, threads, precision, cache}"""

import numpy
import openvino
from common import answer, asked, cells_of, since_start, timed
from openvino_settings import compiled

o = asked()
name = "unet-int8" if o["precision"] == "int8" else "unet"
unet = compiled(openvino.Core(), o, name, o["precision"], 1, cells_of(o["model"], o["size"]))
request = unet.create_infer_request()
ready = since_start()
rng = numpy.random.default_rng(0)
feeds = {i: rng.standard_normal(list(port.shape), dtype=numpy.float32) for i, port in enumerate(unet.inputs)}
first, steps, cpu = timed(lambda: request.infer(feeds), o["steps"])
answer(ready=ready, first=first, steps=steps, cpu=cpu)
