"""OpenVINO from its own float16 file: MODEL SIZE STEPS THREADS f32|bf16, or MODEL SIZE prepare."""

import os
import sys

from common import report, since_start, unet_inputs

model, size = sys.argv[1], int(sys.argv[2])
path = os.path.join(model, "openvino", f"unet-{size}.xml")

if sys.argv[3] == "prepare":
    if not os.path.exists(path):
        import openvino
        import torch
        from diffusers import UNet2DConditionModel

        class Flat(torch.nn.Module):
            def __init__(self, unet):
                super().__init__()
                self.unet = unet

            def forward(self, sample, t, text, pooled, sizes):
                added = {"text_embeds": pooled, "time_ids": sizes}
                return self.unet(sample, t, text, added_cond_kwargs=added, return_dict=False)[0]

        unet = UNet2DConditionModel.from_pretrained(model, subfolder="unet", torch_dtype=torch.float32)
        sample, t, text, added = unet_inputs(size)
        example = (sample, t, text, added["text_embeds"], added["time_ids"])
        shapes = [list(x.shape) for x in example]
        with torch.inference_mode():
            converted = openvino.convert_model(Flat(unet).eval(), example_input=example, input=shapes)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        openvino.save_model(converted, path, compress_to_fp16=True)
    sys.exit(0)

import numpy  # noqa: E402
import openvino  # noqa: E402

steps, threads, precision = int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]
settings = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
compiled = openvino.Core().compile_model(path, "CPU", settings)
request = compiled.create_infer_request()
ready = since_start()
rng = numpy.random.default_rng(0)
feeds = {port: rng.standard_normal(list(port.shape), dtype=numpy.float32) for port in compiled.inputs}
report(ready, lambda: request.infer(feeds), steps)
