"""A dummy stage of a chain: its figures follow from its entry and its source's, and the weaker the training the larger the drop.

TINY_LOG and TINY_CONTROL are as in tasks/dummy.py. `magnitude` at 0.95 fails as an own method might; at 0.5 it does not shrink.
"""

import json
import sys
from pathlib import Path
from typing import Any

import yaml
from tasks.dummy import fail_if_asked, note, wait_while_held


def entry_of(params: dict[str, Any], name: str) -> tuple[str, dict[str, Any]]:
    """The section and the entry of a variant."""
    return next((section, params[section][name]) for section in ("prune", "quantize") if name in params[section])


def made(params: dict[str, Any], name: str) -> None:
    """The variant's folder and metrics."""
    section, entry = entry_of(params, name)
    fail_if_asked(section)
    if entry.get("fraction") == 0.95:
        sys.stderr.write("error: magnitude: out of luck\n")
        sys.exit(1)
    source = {"drop": 0.0, "size_ratio": 1.0}
    if entry["source"] != "teacher":
        source = json.loads(Path(f"data/models/{entry['source']}/model").read_text())
    epochs = entry.get("recover", {}).get("epochs", 10)
    figures = {
        "drop": source["drop"] + (0.02 * entry["ratio"] * 10 / epochs if "ratio" in entry else 0.001),
        "size_ratio": source["size_ratio"] * (1 / (1 - entry["ratio"]) if "ratio" in entry else 4.0),
    }
    write(Path(f"data/models/{name}/model"), figures)
    estimated = {"metric": "accuracy", "unit": "fraction", "drop": figures["drop"], "time_ratio": figures["size_ratio"] ** 0.5}
    metrics = {"estimated": estimated, "size_bytes": 1000 / figures["size_ratio"], "baseline": {"size_bytes": 1000}}
    missed = {"missed": "prune", "reason": "magnitude did not shrink"} if "fraction" in entry else {}
    write(Path(f"reports/metrics/{section}/{name}.json"), metrics | missed)


def summary(params: dict[str, Any]) -> None:
    """A row for each deployed variant, of the shape that the real report writes."""
    rows = []
    for name in params["deploy"]["variants"][1:]:
        figures = json.loads(Path(f"data/evaluated/{name}/model").read_text())
        drop = {"metric": "accuracy", "unit": "fraction", "value": figures["drop"], "ci": [0.0, 0.02]}
        speed = {"batch_1": {"value": 2.0, "ci": [1.9, 2.1]}}
        row = {"variant": name, "target": "onnxruntime", "drop": drop, "size_ratio": figures["size_ratio"], "speed_ratio": speed}
        familywise = "together" if params["gate"]["familywise"] else "alone"
        rows.append(row | {"verdict": "accept", "reasons": [familywise], "quality": {"accuracy": drop}, "size_bytes": 1})
    write(Path("reports/summary.json"), {"schema": 1, "workload": "digits", "variants": rows})


def write(path: Path, content: Any) -> None:
    """JSON into a file of a folder that may not be there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


if __name__ == "__main__":
    name, params = sys.argv[-1], yaml.safe_load(Path("params.yaml").read_text())
    note("@".join(sys.argv[1:]), "start")
    wait_while_held(name)
    if sys.argv[1] == "evaluate":
        write(Path(f"data/evaluated/{name}/model"), json.loads(Path(f"data/models/{name}/model").read_text()))
    elif name == "report":
        summary(params)
    elif name in ("data", "teacher", "calibrate"):
        write(Path({"data": "data/prepared", "teacher": "data/models/teacher", "calibrate": "data/calibration"}[name]) / "model", name)
        if name == "teacher":
            write(Path("reports/metrics/teacher/teacher.json"), {"validation": {"accuracy": 0.9}})
    else:
        made(params, name)
    note("@".join(sys.argv[1:]), "end")
