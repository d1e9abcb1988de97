"""NNCF's post-training quantization at its defaults: https://github.com/openvinotoolkit/nncf, "Post-Training Quantization", OpenVINO."""

import nncf
import openvino
from handed import handed

given = handed()
data = nncf.Dataset(list(given.singly()))
model = nncf.quantize(openvino.Core().read_model(given.teacher), data)
openvino.save_model(model, given.out / "model.xml", compress_to_fp16=False)
given.made("nncf", "openvino")
