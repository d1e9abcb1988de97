"""NNCF's weight compression on the teacher's stateful OpenVINO graph, as the line compiled it in float32."""

from pathlib import Path

import nncf
import openvino
from handed import handed


def compressed(mode: nncf.CompressWeightsMode) -> None:
    """Compress and save."""
    given = handed()
    graph = Path("data/compiled/teacher-openvino/openvino_model.xml")
    model = nncf.compress_weights(openvino.Core().read_model(graph), mode=mode)
    openvino.save_model(model, given.out / graph.name, compress_to_fp16=False)
    given.made("nncf", "openvino", mode=mode.value)
