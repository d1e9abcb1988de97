"""One pass of Olive on the teacher's graph, by the workflow that `olive run` reads."""

import json
import shutil
from pathlib import Path
from typing import Any

from handed import Handed
from olive import workflows

SCRIPT = """
import numpy
import torch
from olive.data.registry import Registry


class Samples(torch.utils.data.Dataset):
    def __init__(self):
        with numpy.load({calibration!r}) as found:
            self.arrays = dict(found)

    def __len__(self):
        return len(next(iter(self.arrays.values())))

    def __getitem__(self, row):
        return {{name: values[row] for name, values in self.arrays.items()}}, numpy.int64(0)


@Registry.register_dataset()
def calibration_samples(**_):
    return Samples()
"""


def run_pass(given: Handed, name: str, *, needs_data: bool = False) -> None:
    """Run it and keep its graph."""
    config: dict[str, Any] = {
        "input_model": {"type": "OnnxModel", "model_path": str(given.teacher)},
        "passes": {"quantize": {"type": name}},
        "output_dir": str(given.out / "olive"),
        "cache_dir": str(given.out / "cache"),
    }
    if needs_data:
        script = given.out / "samples.py"
        script.write_text(SCRIPT.format(calibration=str(given.folder / "calibration.npz")), encoding="utf-8")
        config["data_configs"] = [
            {"name": "calibration", "user_script": str(script), "load_dataset_config": {"type": "calibration_samples"}}
        ]
        config["passes"]["quantize"]["data_config"] = "calibration"
    (given.out / "olive.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
    workflows.run(str(given.out / "olive.json"))
    graph = next(path for path in sorted(Path(given.out / "olive").rglob("*.onnx")))
    shutil.copyfile(graph, given.out / "model.onnx")
    for rest in ("olive", "cache"):
        shutil.rmtree(given.out / rest, ignore_errors=True)
    given.made("olive-ai", "onnxruntime")
