"""NNCF's quantization with accuracy control: layers go back to float until the metric drops by less than the gate's margin.

https://docs.openvino.ai, "Quantizing with Accuracy Control"; judged on validation by the objective's own metric.
"""

import nncf
import openvino
from handed import handed

given = handed()
from own_metric import Judge  # noqa: E402 - the library is on the path from here on

judge = Judge(given)
calibration = nncf.Dataset(list(given.singly()))
validation = nncf.Dataset([given.validation])
model = nncf.quantize_with_accuracy_control(
    openvino.Core().read_model(given.teacher),
    calibration_dataset=calibration,
    validation_dataset=validation,
    validation_fn=judge.validate,
    max_drop=judge.max_drop,
    drop_type=nncf.DropType.RELATIVE if given.facts["relative"] else nncf.DropType.ABSOLUTE,
)
openvino.save_model(model, given.out / "model.xml", compress_to_fp16=False)
given.made("nncf", "openvino", max_drop=judge.max_drop)
