"""What targets lack for quantized variants."""

NO_INT8_KERNELS = {
    "eager": "eager PyTorch has no int8 kernels; deploy it on onnxruntime or openvino",
    "torchscript": "TorchScript packs int8 weights anew in every call and runs slower than float32; deploy it on inductor or onnxruntime",
    "xla": "XLA has no int8 kernels on the CPU; deploy it on onnxruntime or openvino",
}
NO_STORED_INT8 = NO_INT8_KERNELS | {
    "executorch": "ExecuTorch's XNNPACK takes int8 weights only together with int8 inputs; deploy it on onnxruntime or openvino"
}
NO_INT4 = "Inductor stores no weight in fewer than 8 bits; deploy it on onnxruntime or openvino"
TOKEN_RANGES = ("onnxruntime", "openvino")
NO_TOKEN_RANGES = "ranges per-token are lowered for onnxruntime and openvino alone; deploy it on one of them, or take ranges: dynamic"
