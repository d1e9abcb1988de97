"""AIMET's quantization simulation at its defaults, exported as a QDQ graph: https://quic.github.io/aimet-pages, aimet_onnx."""

import onnx
from aimet_onnx.quantsim import QuantizationSimModel
from handed import handed

given = handed()
simulation = QuantizationSimModel(onnx.load(str(given.teacher)))
simulation.compute_encodings(given.singly())
onnx.save(simulation.to_onnx_qdq(), str(given.out / "model.onnx"))
given.made("aimet-onnx", "onnxruntime")
