"""A project folder as the stage `data` leaves it, for tests of the stages after it."""

import shutil
from pathlib import Path
from typing import Any

import yaml

from slimline.artifact.folder import write_json
from slimline.data.table import write_table
from slimline.workloads.guarded import Guarded

SIZES = {"test_fraction": 0.3, "validation_fraction": 0.2, "calibration_samples": 60}


def prepare_project(folder: Path, project: Path, params: dict[str, Any], workload: Guarded) -> None:
    """Write params.yaml, the report templates and every split into `folder`."""
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    shutil.copytree(project / "reports/templates", folder / "reports/templates")
    (folder / "data/prepared").mkdir(parents=True)
    for split, table in workload.splits(SIZES, 0).items():
        write_table(folder / f"data/prepared/{split}.arrow", table)
    write_json(folder / "data/prepared/manifest.json", {"varies": {}})
