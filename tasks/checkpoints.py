"""The checkpoints of a stage's trainings and rounds, kept outside git and DVC until the stage has ended well."""

import hashlib
import json
import logging
import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

import slimline
from slimline.artifact.folder import sha256_of
from slimline.artifact.weights import read_weights, write_weights
from slimline.data.prepared import ENDING, PREPARED
from slimline.errors import ArtifactError
from slimline.params import TEACHER
from slimline.stage import Stage
from slimline.storage.checkpoint_folder import FOLDER, clear
from slimline.training.checkpoints import EVERY_S, Checkpoints

log = logging.getLogger(__name__)
MODELS, TAUGHT = Path("data/models"), Path("data/taught")
_NAMED = re.compile(r'"([^"]+\.py):')
SETTINGS = {"workload", "seed", "data", "model", "calibrate"}


class CheckpointFiles(Checkpoints):
    """One file a round or training below data/checkpoints/<variant>/<key>; the key is that of everything that they depend on."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(EVERY_S)
        self._stage, self._variant = stage, FOLDER / stage.label

    def load(self, name: str) -> Mapping[str, Tensor] | None:
        """What was kept; None where there is nothing, or its file is damaged (it is then made again)."""
        if not self._variant.is_dir():
            return None
        path = self._path(name)
        try:
            found = read_weights(path) if path.exists() else None
        except ArtifactError:
            return None
        if found is not None:
            log.info("%s: goes on from %s", self._stage.variant, path)
        return found

    def save(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        """Write it whole: a name appears only when its bytes are complete. A full disk costs the checkpoint, not the training."""
        path = self._path(name)
        draft = path.with_suffix(".draft")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_weights(draft, tensors)
            draft.replace(path)
        except OSError as error:
            draft.unlink(missing_ok=True)
            log.warning("%s: no checkpoint: %s: %s", self._stage.variant, path, error.strerror)

    def clear(self) -> None:
        """Remove the checkpoints of this variant, and of its earlier configs; what else lies there is somebody's own."""
        clear(self._variant)

    def _path(self, name: str) -> Path:
        return self._variant / self._key / f"{name}.safetensors"

    @cached_property
    def _key(self) -> str:
        """Of the entry in params.yaml, the models and samples that the stage reads, the code and torch."""
        stage = self._stage
        config = stage.params.teacher if stage.variant == TEACHER else stage.config
        params = stage.params.model_dump(mode="json", include=SETTINGS)
        files = {str(path): sha256_of(path) for path in (*_read(stage), *_code(stage)) if path.is_file()}
        known = [config.model_dump(mode="json"), params, stage.metric, files, torch.__version__]
        return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:16]


def _read(stage: Stage) -> Iterator[Path]:
    """The models, samples and answers that a stage reads."""
    sources = () if stage.variant == TEACHER else (TEACHER, stage.config.source)
    yield from (MODELS / name / "manifest.json" for name in sources)
    yield from (PREPARED / f"{name}{ENDING}" for name in ("train", "validation", "calibration"))
    yield from sorted(TAUGHT.glob("*/*.safetensors"))


def _code(stage: Stage) -> Iterator[Path]:
    """The code that a stage may run: Slimline's, the project's workloads, and files that params.yaml names."""
    for folder in (Path(slimline.__file__).parent, Path(__file__).parent, Path("workloads")):
        yield from sorted(folder.rglob("*.py"))
    yield from (Path(name) for name in _NAMED.findall(stage.params.model_dump_json()))
