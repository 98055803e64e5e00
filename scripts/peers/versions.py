"""Which peers this Python has, and their versions; nothing is imported."""

import json
from importlib import metadata

names = ["torch", "diffusers", "transformers", "openvino", "nncf", "stable_diffusion_cpp_python"]
found = {}
for name in names:
    try:
        found[name] = metadata.version(name)
    except metadata.PackageNotFoundError:
        pass
print(json.dumps(found))
