"""The finished rounds of a long method, kept outside git and DVC until the stage has ended well."""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from slimline.artifact.folder import sha256_of
from slimline.artifact.weights import read_weights, write_weights
from slimline.data.prepared import ENDING, PREPARED
from slimline.errors import ArtifactError
from slimline.stage import Stage
from tasks.variant import MODELS

FOLDER = Path("data/rounds")
_FOLDER, _ROUND = re.compile(r"[0-9a-f]{16}"), re.compile(r"\d{3,}\.(safetensors|draft)")


class RoundFiles:
    """One file a round below data/rounds/<variant>/<key>; the key is that of everything that the rounds depend on.

    Implements slimline.training.rounds.Rounds.
    """

    def __init__(self, stage: Stage) -> None:
        source = sha256_of(MODELS / stage.config.source / "manifest.json")
        params = stage.params.model_dump(mode="json", include={"workload", "seed", "data", "calibrate"})
        samples = [sha256_of(PREPARED / f"{name}{ENDING}") for name in ("train", "validation", "calibration")]
        known = [stage.config.model_dump(mode="json"), params, stage.metric, source, samples]
        self._variant = FOLDER / stage.variant
        self._folder = self._variant / hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:16]

    def load(self, number: int) -> Mapping[str, Tensor] | None:
        """The tensors of a round; None where it was not finished, or its file is damaged (it is then made again)."""
        path = self._path(number)
        try:
            return read_weights(path) if path.exists() else None
        except ArtifactError:
            return None

    def save(self, number: int, tensors: Mapping[str, Tensor]) -> None:
        """Write a round whole: a name appears only when its bytes are complete."""
        path = self._path(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(".draft")
        write_weights(draft, tensors)
        draft.replace(path)

    def clear(self) -> None:
        """Remove the rounds of this variant, and of its earlier configs; what else lies there is somebody's own."""
        for path in self._variant.glob("*/*"):
            if _FOLDER.fullmatch(path.parent.name) and _ROUND.fullmatch(path.name):
                path.unlink()
        for folder in (*self._variant.glob("*"), self._variant):
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:03}.safetensors"
