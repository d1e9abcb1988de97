"""ONNX Runtime's 4-bit weights for MatMul at their defaults: https://onnxruntime.ai, "Quantize ONNX models", MatMulNBits."""

import onnx
from handed import handed
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

given = handed()
quantizer = MatMulNBitsQuantizer(onnx.load(str(given.teacher)))
quantizer.process()
quantizer.model.save_model_to_file(str(given.out / "model.onnx"), use_external_data_format=False)
given.made("onnxruntime", block_size=quantizer.algo_config.block_size)
