"""What `slimline init` shares over kinds of data: the words of its findings, honest margins, and the text of params.yaml."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from slimline.params import Params

CHANGED = 0.02
"""The share of answers that a compressed model usually changes, half of them each way: what the power of a test split is told for."""
POINT = 0.01
RELATIVE_MARGIN = 0.03
"""By which share an error may grow."""
TEACH = "teach: {teacher: {}}"
"""The line that has the teacher's answers kept once, for all students."""


@dataclass(frozen=True)
class Looked:
    """What was found, in lines and as plain data, and the params.yaml that suits it."""

    lines: tuple[str, ...]
    found: Mapping[str, Any]
    text: str


def shown_drop(samples: int, confidence: float = 0.95) -> float:
    """The smallest drop of accuracy that a test split of so many samples shows, where 2 % of answers change."""
    from slimline.verdict.power import detectable_drop

    changed = round(CHANGED / 2 * samples)
    return detectable_drop(samples, changed, changed, confidence)


def honest_margin(samples: int) -> float:
    """The allowed drop: one point, or as many half points as the test split can show."""
    return max(POINT, math.ceil(shown_drop(samples) / 0.005) * 0.005)


def asked(size_ratio: float = 1.5) -> str:
    """What else than quality a variant must show, as params.yaml has it."""
    return f"min_size_ratio: {size_ratio}, min_speed_ratio: 1.0, confidence: 0.95, familywise: true"


def asked_metric(is_classes: bool, samples: int) -> str:
    """The gate's metric and margin for a table's target, as params.yaml has them; `samples` are those of the test split."""
    return f"accuracy, max_drop: {honest_margin(samples):g}" if is_classes else f"mean_absolute_error, max_relative_drop: {RELATIVE_MARGIN}"


def told_splits(splits: Mapping[str, int]) -> str:
    """How many samples each split has, in a line."""
    return "splits: " + ", ".join(f"{count:,} {split}" for split, count in splits.items())


def told_power(samples: int) -> str:
    """What a test split of so many samples will be able to show, in a line."""
    return f"this test split will show a drop of accuracy of {100 * shown_drop(samples):.1f} points or more (power 80 %)"


def targets() -> list[str]:
    """The runtimes that are installed here, of those that one deploys on."""
    return ["onnxruntime", *(["openvino"] if find_spec("openvino") and find_spec("nncf") else [])]


def checked(text: str) -> str:
    """A params.yaml as text, once more held to what params.yaml may hold."""
    from ruamel.yaml import YAML

    Params.parse(YAML(typ="safe").load(text))
    return text


def inline(value: Any) -> str:
    """A value as it stands in a line of YAML."""
    return json.dumps(value, ensure_ascii=False)


def params_text(
    workload: str, data: str, model: str, sections: str, gate: str, variants: list[str], *, batch_size: int = 32, cached: str | None = None
) -> str:
    """The whole file, commented, one line a choice; of a language model, `cached` is the variant that is tried with caches."""
    last = targets()[-1]
    caches = f"# Where caches are tried.\ncache: {{{cached}-{last}: {{variant: {cached}, target: {last}}}}}\n" if cached else ""
    deployed = ", ".join(["teacher", *variants])
    return checked(
        f"""# Written by `slimline init`. `slimline check` finds every mistake here; `slimline methods NAME` explains a method's settings.
workload: {workload}
seed: 0
# Where the samples come from; the line runs again when they change. What is left of the splits is for training.
{data}
# The net: a bundled architecture, hf:DIRECTORY (Hugging Face), or path/to/file.py:builder; its path is watched.
{model}
{sections}
# Every variant on every target; size and speed are of what is deployed.
deploy:
  variants: [{deployed}]
  targets: [{", ".join(targets())}]
{caches}evaluate: {{batch_size: {batch_size}, pairs: 40, threads: 1, resamples: 2000}}
# What a variant must show to be released; a margin below what the test split can show would leave every verdict open.
{gate}
publish: {{bucket: slimline, alias: latest}}
"""
    )
