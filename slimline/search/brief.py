"""The brief training of successive halving: an entry with a share of whatever length of training it asks for."""

import math
from collections.abc import Mapping
from typing import Any

from slimline.params import config_class

LENGTHS = ("epochs", "steps", "hint_epochs")
"""How long a training is; steps are of all its epochs together."""
REWOUND = "rewind_epoch"
"""An epoch within the training: as early in the brief one."""
BESIDE = ("controls", "label_shares", "control_rounds")
"""What is trained beside the variant for comparison: nothing, in the brief training."""
TRAININGS = ("recover", "training", "schedule")
"""Sections of an entry that have lengths of their own."""


def shortened(stage: str, content: Mapping[str, Any], share: float) -> dict[str, Any]:
    """The entry with so much of its training, at least one epoch where it has any; what the config has by default is counted too."""
    if share == 1:
        return dict(content)
    config = config_class(stage, str(content["method"])).model_validate(content)
    beside: dict[str, Any] = {key: [] for key in BESIDE if getattr(config, key, ()) != ()}
    cut = {**content, **_lengths(config, share), **beside}
    for part in TRAININGS:
        if (lengths := _lengths(getattr(config, part, None), share)) and _has_epochs(config, part):
            cut[part] = {**cut.get(part, {}), **lengths}
    return cut


def _lengths(training: Any, share: float) -> dict[str, int]:
    """The lengths that a training has, cut."""
    found = {key: math.ceil(value * share) for key in LENGTHS if (value := getattr(training, key, None)) is not None}
    return found | ({REWOUND: int(value * share)} if (value := getattr(training, REWOUND, 0)) else {})


def _has_epochs(config: Any, part: str) -> bool:
    """A schedule of one shot trains nothing itself."""
    return part != "schedule" or config.schedule.kind != "one_shot"
