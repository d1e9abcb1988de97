"""ONNX Runtime's static quantization at its defaults, after its own pre-processing: https://onnxruntime.ai, "Quantize ONNX models"."""

from collections.abc import Iterator

from handed import Arrays, handed
from onnxruntime.quantization import CalibrationDataReader, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process


class Samples(CalibrationDataReader):
    """The calibration samples, one after the other."""

    def __init__(self, samples: Iterator[Arrays]) -> None:
        self.samples = samples

    def get_next(self) -> Arrays | None:
        """The next one, None after the last."""
        return next(self.samples, None)


given = handed()
prepared = given.out / "prepared.onnx"
quant_pre_process(str(given.teacher), str(prepared))
quantize_static(str(prepared), str(given.out / "model.onnx"), Samples(given.singly()))
prepared.unlink()
given.made("onnxruntime")
