"""Chains run as variants of one project: their entries are written into params.yaml of a clone, and DVC makes what is not made yet."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from flows.dag import Dag, read_dag
from flows.events import Ended, Event, Planned, listeners, tell
from flows.heal import is_dvc_lock
from flows.schedule import Failure, failure_of, run_dag
from slimline.artifact.folder import write_text
from slimline.errors import ParamsError
from slimline.params import CONFIGS, TEACHER, Params
from slimline.params.overrides import flow as in_yaml
from slimline.search.entries import Entry, sections, unique
from slimline.search.figures import Figures, PutOff, figures_of

METRICS = "reports/metrics/{stage}/{name}.json"


@dataclass(frozen=True)
class Made:
    """What came of the chains: figures of the chain's end or the reason why there are none, and seconds of each stage that ran."""

    figures: Mapping[str, Figures | PutOff | str]
    seconds: Mapping[str, float]


@dataclass(frozen=True)
class Clone:
    """The folder that trials run in, the project's params as plain data without variants, how many stages run side by side, and the file
    that keeps the clone's dvc.lock for the next call's clone."""

    folder: Path
    raw: Mapping[str, Any]
    jobs: int
    memory: Path

    def content(self, entries: Sequence[Entry], deployed: Sequence[str], **more: Any) -> dict[str, Any]:
        """What params.yaml holds with these entries beside the variants that are to be judged with them."""
        content = {**self.raw, **more}
        for section, found in sections(entries).items():
            content[section] = {**content[section], **found}
        content["deploy"] = {**content["deploy"], "variants": list(deployed)}
        return content

    def refused(self, chain: Sequence[Entry]) -> str | None:
        """What `slimline check` has against a chain; None where it accepts it."""
        try:
            Params.parse(self.content(chain, (TEACHER, chain[-1].name)))
        except ParamsError as error:
            return error.problems[0]
        return None

    def write(self, entries: Sequence[Entry], deployed: Sequence[str] = (TEACHER,), **more: Any) -> Params:
        """Make params.yaml hold them.

        Raises:
            ParamsError: it is none that `slimline check` would accept; nothing is written.
        """
        content = self.content(entries, deployed, **more)
        params = Params.parse(content)
        write_text(self.folder / "params.yaml", "".join(f"{key}: {in_yaml(value)}\n" for key, value in content.items()))
        return params

    def made(self, chains: Mapping[int, Sequence[Entry]]) -> Made:
        """Bring every chain's stages up to date; one that fails ends its own chains alone."""
        refused = {number: said for number, chain in chains.items() if (said := self.refused(chain)) is not None}
        entries = list(unique([entry for number, chain in chains.items() if number not in refused for entry in chain]))
        self.write(entries)
        with timed() as seconds:
            failed = dict(self._run(entry.address for entry in entries)) if entries else {}
        self.remember()
        found = {str(number): refused.get(number) or self._figures(chain, failed) for number, chain in chains.items()}
        return Made(found, seconds)

    def remember(self) -> None:
        """Keep what DVC knows to be made."""
        write_text(self.memory, (self.folder / "dvc.lock").read_text(encoding="utf-8"))

    def recall(self) -> None:
        """What an earlier call made comes back without a stage; a file of another state than the project's is harmless, DVC compares."""
        if is_dvc_lock(self.memory):
            shutil.copyfile(self.memory, self.folder / "dvc.lock")
            subprocess.run(
                [sys.executable, "-m", "dvc", "checkout", "-q", "--allow-missing"], cwd=self.folder, capture_output=True, check=False
            )

    def _run(self, addresses: Iterable[str]) -> Iterator[tuple[str, Failure]]:
        """Run these stages alone, what they stand on being made already; each that failed, and how."""
        names = tuple(addresses)
        dag = _only(read_dag(self.folder, names), names)
        tell(Planned(len(dag.nodes), sum(node.clean for node in dag.nodes.values()), str(self.folder)))
        for name, state in run_dag(dag, str(self.folder), jobs=self.jobs, force=False, fail_fast=False, on_progress=lambda *_: None):
            if (failure := failure_of(state)) is not None:
                yield name, failure

    def _figures(self, chain: Sequence[Entry], failed: Mapping[str, Failure]) -> Figures | PutOff | str:
        for entry in chain:
            if (failure := failed.get(entry.address)) is not None:
                return PutOff(failure.reason) if failure.is_machines else failure.reason
        path = self.folder / METRICS.format(stage=chain[-1].stage, name=chain[-1].name)
        return figures_of(json.loads(path.read_text(encoding="utf-8")))


def without_variants(raw: Mapping[str, Any], params: Params, beside: Sequence[str], targets: Sequence[str]) -> dict[str, Any]:
    """The content of params.yaml for these targets, without its search and its variants, but for those named and what they start from."""
    kept = {name for one in beside for name in params.lineage(one)} - {TEACHER}
    controls = {getattr(params.variants[name][1], "control_of", None) for name in kept}
    kept |= {name for one in controls - {None} for name in params.lineage(str(one))} - {TEACHER}
    content = {key: value for key, value in raw.items() if key != "search"}
    content["deploy"] = {**content["deploy"], "targets": list(targets)}
    for section in CONFIGS:
        content[section] = {name: entry for name, entry in (content.get(section) or {}).items() if name in kept}
    content["teach"] = {name: entry for name, entry in (content.get("teach") or {}).items() if name in {TEACHER, *kept}}
    return content


@contextmanager
def timed() -> Iterator[dict[str, float]]:
    """Seconds of every stage that ends within the block, by name; what was up to date has none."""
    seconds: dict[str, float] = {}

    def hear(event: Event) -> None:
        if isinstance(event, Ended) and event.state != "Cached":
            seconds[event.stage] = seconds.get(event.stage, 0.0) + event.seconds

    listeners.append(hear)
    try:
        yield seconds
    finally:
        listeners.remove(hear)


def since(began: float) -> float:
    """Seconds since a moment of `time.monotonic`."""
    return time.monotonic() - began


def _only(dag: Dag, names: Sequence[str]) -> Dag:
    nodes = {name: node for name, node in dag.nodes.items() if name in names}
    return replace(
        dag, nodes={name: replace(node, needs=tuple(need for need in node.needs if need in nodes)) for name, node in nodes.items()}
    )
