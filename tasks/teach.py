"""Stage `teach`: what a variant that teaches gives for the samples that its students learn from, computed once for all of them.

in      data/models/<variant>, data/prepared/{train,validation}.arrow
out     data/taught/<variant>: <split>.safetensors, and manifest.json, which says whose answers they are
params  workload, seed, teach.<variant>

Where a workload augments its training samples, the students ask their teacher about each anew, and validation alone is kept.
"""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path

from slimline.artifact.folder import whole_folder
from slimline.artifact.missed import read_missed
from slimline.artifact.variant import load_variant
from slimline.data.batch import Tensors, count, tensors
from slimline.data.prepared import load_split
from slimline.methods.distill.guided import kept_of
from slimline.report.numbers import size
from slimline.report.page import StagePage, Table, write_page
from slimline.stage import Stage, stage_main
from slimline.training.taught import answers_of
from tasks.known import TAUGHT, write_answers

log = logging.getLogger(__name__)
MODELS = Path("data/models")
MOST_BYTES = 500_000_000
"""Answers for a split that are more stay with each student's own training: they go through the cache, and to every machine."""


def run(stage: Stage) -> Iterator[tuple[str, Tensors]]:
    """Each split whose answers can be kept, and they."""
    if read_missed(MODELS / stage.variant):
        return
    config, workload = stage.params.teach[stage.variant], stage.workload
    teacher, read = load_variant(MODELS / stage.variant, workload).model, kept_of(workload.objective)
    for name in ("validation",) if workload.augmentation else ("train", "validation"):
        split = load_split(workload.samples, name)
        answers = answers_of(teacher, split, read, device=config.device, threads=config.threads, most_bytes=MOST_BYTES)
        if answers is not None:
            yield name, answers


def page(stage: Stage, found: Mapping[str, Tensors]) -> StagePage:
    """What is kept, and why what is not."""
    rows = tuple(
        (split, name or "output", f"{count(answers):,}", "×".join(map(str, value.shape[1:])) or "1", size(value.nbytes))
        for split, answers in found.items()
        for name, value in tensors(answers).items()
    )
    kept = " and ".join(f"{count(answers):,} samples of {split}" for split, answers in found.items())
    return StagePage(
        stage="teach",
        variant=stage.variant,
        title=f"What {stage.variant} teaches",
        summary=(
            f"The answers of {stage.variant} for {kept} are kept: its students learn from them, and none of them asks again."
            if kept
            else f"Nothing that {stage.variant} answers could be kept: each of its students asks for itself.",
        ),
        comparison=(),
        tables=(Table("Kept", ("split", "output", "samples", "values a sample", "bytes"), rows),) if rows else (),
        notes=(
            f"Not kept: of a split that the workload augments; where samples differ in length; above {size(MOST_BYTES)}; of a variant that "
            "was not made. Students ask for those themselves, each once where it can keep them.",
        ),
    )


def main(stage: Stage) -> None:
    """Ask, write, tell."""
    with whole_folder(TAUGHT / stage.variant) as draft:
        found = dict(run(stage))
        write_answers(draft, MODELS / stage.variant, found)
    write_page(page(stage, found), stage.page_path)
    log.info("teach: answers of %s kept for %s", stage.variant, " and ".join(found) or "nothing")


if __name__ == "__main__":
    stage_main("teach", main, __doc__, per="variant")
