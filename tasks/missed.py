"""A variant that its stage did not make is a result: the stage's files say so and why, and the stages behind it pass that on.

The line goes on and the report rejects the variant with this reason. The teacher is no such variant: all others are held against it.
"""

import logging
from pathlib import Path
from typing import Any

from slimline.artifact.missed import Missed, write_missed
from slimline.errors import NotMade, StageError
from slimline.params import TEACHER
from slimline.report.page import StagePage, write_page
from slimline.stage import Stage, write_metrics

log = logging.getLogger(__name__)
MADE_IN = {
    **dict.fromkeys(("prune", "quantize", "factorize", "distill"), Path("data/models")),
    "compile": Path("data/compiled"),
    "evaluate": Path("data/evaluated"),
}
"""Stage -> the folder that holds what it makes, by the stage's label."""


def note_miss(stage: Stage, error: StageError) -> None:
    """Write the stage's outs with the reason in them: the note in the artifact's place, the metrics and the page.

    Raises:
        StageError: as given, where it is the teacher's: the line cannot do without it.
    """
    if stage.variant == TEACHER:
        raise error
    missed = missed_by(stage, error)
    write_missed(MADE_IN[stage.name] / stage.label, missed)
    tell_miss(stage, missed)


def note_unmade(stage: Stage, error: StageError) -> None:
    """Of a stage without an artifact: of a variant that was not made before it there is nothing to tell, and its files say so.

    Raises:
        StageError: as given, where it is this stage's own.
    """
    if not isinstance(error, NotMade):
        raise error
    tell_miss(stage, missed_by(stage, error))


def tell_miss(stage: Stage, missed: Missed) -> None:
    """Write the metrics and the page of a stage that has no artifact, or of one that was missed."""
    write_metrics(stage, metrics_of(stage, missed))
    write_page(page(stage, missed), stage.page_path)
    log.warning("%s: missed: %s", stage.label, missed.reason)


def missed_by(stage: Stage, error: StageError) -> Missed:
    """The note: an earlier stage's own where this variant was not made before; a source's names the source."""
    if not isinstance(error, NotMade):
        return Missed(variant=stage.variant, target=stage.target, stage=stage.name, reason=str(error))
    if error.variant == stage.variant:
        return Missed(variant=stage.variant, target=stage.target, stage=error.stage, reason=error.reason)
    return Missed(variant=stage.variant, target=stage.target, stage=stage.name, reason=f"its source {error}")


def metrics_of(stage: Stage, missed: Missed) -> dict[str, Any]:
    """What `dvc metrics show` lists, and what the report reads of a variant without figures."""
    made_by, config = stage.params.variants[stage.variant]
    names = {"variant": stage.variant, "stage": made_by, "method": config.method, "source": config.source}
    target = {} if stage.target is None else {"target": stage.target}
    return {"schema": 1, **names, **target, "missed": missed.stage, "reason": missed.reason}


def page(stage: Stage, missed: Missed) -> StagePage:
    """The stage's page: what was asked, and why there is nothing."""
    config = stage.params.variants[stage.variant][1]
    return StagePage(
        stage=stage.name,
        variant=stage.label,
        title=f"{stage.label}: not made",
        summary=(f"The stage {missed.stage} did not do what {config.method} was asked: {missed.reason}",),
        comparison=(),
        notes=("The variant is rejected for this reason; all others stand. Change it in params.yaml, or remove it there.",),
    )
