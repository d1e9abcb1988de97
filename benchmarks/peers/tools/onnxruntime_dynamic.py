"""ONNX Runtime's dynamic quantization at its defaults, after its own pre-processing: https://onnxruntime.ai, "Quantize ONNX models"."""

from handed import handed
from onnxruntime.quantization import quantize_dynamic
from onnxruntime.quantization.shape_inference import quant_pre_process

given = handed()
prepared = given.out / "prepared.onnx"
quant_pre_process(str(given.teacher), str(prepared))
quantize_dynamic(str(prepared), str(given.out / "model.onnx"))
prepared.unlink()
given.made("onnxruntime")
