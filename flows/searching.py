"""One call of the recipe search: chains are proposed, trained briefly, the best of them in full, and the frontier is judged on test."""

import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.events import Noted, tell
from flows.last_reports import keep_reports
from flows.line import run_in
from flows.one_run import Run
from flows.options import Options
from flows.results import Outcome
from flows.searched import Searched
from flows.trials import Clone, Made, since
from slimline.errors import SlimlineError
from slimline.params import TEACHER, Params
from slimline.params.search import SearchParams
from slimline.report.search_page import write_search
from slimline.search.chains import legal_orders, space_size
from slimline.search.entries import entries_of
from slimline.search.figures import Figures, PutOff
from slimline.search.frontier import chosen
from slimline.search.halving import hopeless, promoted
from slimline.search.record import Tried
from slimline.search.study import Study


@dataclass(frozen=True)
class Search:
    """One call: the project, its params, what is looked for, where trials run, and the folder of the journal and the page."""

    project: Path
    params: Params
    asked: SearchParams
    clone: Clone
    folder: Path
    max_drop: float
    """The gate's margin on validation, in the metric's own unit."""

    @property
    def targets(self) -> Sequence[str]:
        """Where the frontier is judged."""
        return self.asked.targets or self.params.deploy.targets

    def run(self) -> Searched:
        """All of it."""
        began = time.monotonic()
        orders = legal_orders(self.asked, self.targets)
        study = Study(self.folder / "journal.log", self.asked, orders)
        earlier = study.seconds
        while self._looks_on(study):
            moment, in_time = time.monotonic(), self._in_time(study)
            chains = self._next(study, in_time=in_time)
            self._brief(study, chains)
            self._full(study)
            study.spend(since(moment))
            if in_time and not chains and self._room(study.tried()):
                tell(Noted("search: nearly every chain of the space has been tried"))
                break
        front = self._frontier(study.tried())
        before = self._judged_before(study, front)
        summary = self._judged(study, front, before)
        facts = {"orders": len(orders), "space": space_size(self.asked, orders), "seconds": earlier + since(began), "judged_before": before}
        found = write_search(self.folder, self.params, study.tried(), front, summary, facts, project=self.project)
        return Searched(self.folder, since(began), found)

    def _looks_on(self, study: Study) -> bool:
        """Whether there is time and something to do with it; what a killed call began is ended first, and one chain at least is whole.

        Chains that an earlier call put off are no new ones: they are tried again without regard to the time.
        """
        tried, unfinished, waiting = study.tried(), tuple(study.unfinished()), self._to_promote(study)
        if any(one.put_off for one in (*unfinished, *waiting)):
            return True
        more = waiting or self._room(tried) > 0 or unfinished
        return bool(self._in_time(study) and more) or bool(waiting and not any(one.full for one in tried))

    def _in_time(self, study: Study) -> bool:
        """Whether new chains may be begun."""
        return self.asked.minutes is None or study.seconds < 60 * self.asked.minutes

    def _room(self, tried: Sequence[Tried]) -> int:
        """How many more chains may be begun at once."""
        return self.asked.at_once if self.asked.trials is None else max(0, min(self.asked.at_once, self.asked.trials - len(tried)))

    def _next(self, study: Study, *, in_time: bool) -> tuple[Tried, ...]:
        """The chains that earlier calls left, or new ones."""
        left = tuple(itertools.islice(study.unfinished(), self.asked.at_once))
        return left or (study.propose(self._room(study.tried())) if in_time else ())

    def _brief(self, study: Study, chains: Sequence[Tried]) -> None:
        """Train them briefly, and say who is hopeless."""
        for one, found, spent in self._trained(study, chains, self.asked.halving.epochs_share):
            reason = found if isinstance(found, str) else hopeless(found, self.asked.halving, self.max_drop)
            brief = {} if isinstance(found, str) else {"brief": found}
            study.note(one.number, reason=reason, put_off=None, seconds=sum(spent), brief_seconds=spent, **brief)
            study.tell(one.number, None if isinstance(found, str) else found)

    def _full(self, study: Study) -> None:
        """Train in full whom the halving promotes."""
        for one, found, spent in self._trained(study, self._to_promote(study), 1.0):
            what = {"reason": found} if isinstance(found, str) else {"full": found}
            study.note(one.number, put_off=None, seconds=sum(spent), **what)

    def _trained(self, study: Study, chains: Sequence[Tried], share: float) -> Iterator[tuple[Tried, Figures | str, list[float]]]:
        """What came of each chain, or why nothing did, and the seconds of each step; at which the machine failed is put off."""
        entries = {one.number: entries_of(one.chain, share) for one in chains}
        made = self.clone.made(entries) if chains else Made({}, {})
        for one in chains:
            found = made.figures[str(one.number)]
            spent = [made.seconds.get(entry.address, 0.0) for entry in entries[one.number]]
            if isinstance(found, PutOff):
                study.put_off(one.number, found.reason, sum(spent))
            else:
                yield one, found, spent

    def _to_promote(self, study: Study) -> tuple[Tried, ...]:
        tried = study.tried()
        brief = {str(one.number): one.brief for one in tried if one.brief is not None}
        names = promoted(brief, self.asked.halving, self.max_drop) if brief else frozenset()
        waiting = (one for one in tried if str(one.number) in names and one.full is None and one.reason is None)
        return tuple(one for one in waiting if study.has_turn(one.number))

    def _frontier(self, tried: Sequence[Tried]) -> tuple[Tried, ...]:
        """Whom test is to judge."""
        full: dict[str, Figures] = {str(one.number): one.full for one in tried if one.full is not None}
        small = {name: figures for name, figures in full.items() if figures.size_ratio >= self.params.gate.min_size_ratio}
        numbers = chosen(small or full, self.asked.frontier, self.max_drop) if full else ()
        return tuple(one for number in numbers for one in tried if str(one.number) == number)

    def _deployed(self, front: Sequence[Tried]) -> tuple[str, ...]:
        return (TEACHER, *self.asked.beside, *(one.name for one in front))

    def _judged_before(self, study: Study, front: Sequence[Tried]) -> int:
        """How many others test has judged: those that the gate names, and those of earlier calls."""
        now = {f"{name}-{target}" for name in self._deployed(front) for target in self.targets}
        return self.params.gate.judged_before + len(study.judged - now)

    def _judged(self, study: Study, front: Sequence[Tried], before: int) -> Mapping[str, Any]:
        """Compile, evaluate and time the frontier, and what is to stand beside it; all verdicts hold together, earlier ones counted."""
        if not front:
            tried = study.tried()
            reasons = [one.reason or one.put_off for one in tried if one.reason or one.put_off]
            again = "; call it again with more room for those that the machine failed at" if any(one.put_off for one in tried) else ""
            raise SlimlineError(f"search: none of {len(tried)} chains could be made; the last said: {(reasons or ['nothing'])[-1]}{again}")
        entries = [entry for one in front for entry in one.entries]
        gate = {**self.clone.raw.get("gate", {}), "familywise": True} | ({"judged_before": before} if before else {})
        params = self.clone.write(entries, self._deployed(front), gate=gate)
        outcome = run_to(self.project, self.clone, params, ("report",))
        if outcome.summary is not None:  # before anybody sees it
            study.note_judged(f"{row['variant']}-{row['target']}" for row in outcome.summary["variants"] if row.get("missed") is None)
        keep_reports(self.clone.folder / "reports", self.folder / "frontier")
        if outcome.summary is None:
            raise SlimlineError(f"search: the frontier could not be judged: {outcome.message}; call it again, what is made is kept")
        return outcome.summary


def run_to(project: Path, clone: Clone, params: Params, targets: Sequence[str]) -> Outcome:
    """Run the line of the clone as far as these stages; nothing is published."""
    options = Options(targets=list(targets), jobs=clone.jobs, publish=False)
    return run_in(Run(project, clone.folder, options, params, time.monotonic()))
