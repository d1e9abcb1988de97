"""The sampler and its journal: Optuna proposes chains, and whatever is known of them is on disk before the next step.

A search that is killed at any moment goes on where it was: the journal is a file to which whole lines are appended, and a torn last line
is cut off when it is opened again. One process at a time; the caller holds the lock.
"""

import random
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import Trial, TrialState

from slimline.errors import InputError
from slimline.params.search import SearchParams
from slimline.search.chains import Order, Step, knobs
from slimline.search.figures import Figures
from slimline.search.pace import quickest_first
from slimline.search.record import Tried, noted

ORDER, THEN = "order", " > "
STUDY = "recipes"
AT_RANDOM = 10
"""Trials before the sampler goes by what it has seen; the first of each order are drawn at random too."""
TRIED_AGAIN = 200
"""Proposals in a row that are known already, after which the space counts as exhausted."""


class Study:
    """A search's memory.

    Raises:
        InputError: the journal is damaged beyond its last line; the message names the file.
    """

    def __init__(self, journal: Path, search: SearchParams, orders: tuple[Order, ...]) -> None:
        self._search, self._orders = search, tuple(sorted(orders))
        self._shuffled = random.Random(search.seed).sample(self._orders, len(orders))
        self._put_off = set[int]()
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._study = _opened(journal, search.seed)

    def tried(self) -> tuple[Tried, ...]:
        """Every different chain that was proposed, in order."""
        notes: Mapping[str, Any] = self._study.user_attrs
        found = [(trial, notes.get(str(trial.number), {})) for trial in self._study.trials]
        return tuple(
            noted(trial.number, chain, note)
            for trial, note in found
            if "same_as" not in note and (chain := self._chain(trial.params)) is not None
        )

    def unfinished(self) -> Iterator[Tried]:
        """Chains that were proposed and whose brief training has not ended: a killed search left them, or an earlier call put them off."""
        notes: Mapping[str, Any] = self._study.user_attrs
        for trial in self._study.get_trials(states=(TrialState.RUNNING,)):
            chain = self._chain(trial.params)
            if chain is None:
                self._study.tell(trial.number, state=TrialState.FAIL)
            elif self.has_turn(trial.number):
                yield noted(trial.number, chain, notes.get(str(trial.number), {}))

    def put_off(self, number: int, why: str, seconds: float) -> None:
        """The machine failed at a chain, which is no word on the chain: another call tries it again, this one does not."""
        self._put_off.add(number)
        self.note(number, put_off=why, seconds=seconds)

    def has_turn(self, number: int) -> bool:
        """Whether this call may try a chain: it has not put it off."""
        return number not in self._put_off

    def propose(self, most: int) -> tuple[Tried, ...]:
        """At most so many new chains, of orders that none has had yet while there are such, the quick ones first; fewer, or none, where
        nearly all there are have been tried.
        """
        tried = self.tried()
        known = {one.name: one for one in tried}
        waiting = iter(self._orders_to_try(tried))
        new: list[Tried] = []
        in_vain = 0
        self._study.sampler = _sampler(self._search.seed + len(self._study.trials))
        while len(new) < most and in_vain < TRIED_AGAIN:
            if (order := next(waiting, None)) is not None:
                self._study.enqueue_trial({ORDER: THEN.join(order)})
            trial = _asked(self._study)
            one = noted(trial.number, self._sampled(trial), {})
            if (before := known.get(one.name)) is None:
                known[one.name] = one
                new.append(one)
                continue
            in_vain += 1
            self._repeat(one, before)
        return tuple(new)

    def note(self, number: int, **what: Any) -> None:
        """Write down more of a chain: brief, full (Figures), reason, seconds (added up), brief_seconds."""
        note = dict(self._study.user_attrs.get(str(number), {}))
        plain = {key: value.as_json() if isinstance(value, Figures) else value for key, value in what.items()}
        if "seconds" in plain:
            plain["seconds"] += note.get("seconds", 0.0)
        self._study.set_user_attr(str(number), note | plain)

    def tell(self, number: int, figures: Figures | None) -> None:
        """Give the sampler what the brief training came to; None: the chain could not be made."""
        if figures is None:
            self._study.tell(number, state=TrialState.FAIL)
        else:
            self._study.tell(number, figures.costs)

    @property
    def seconds(self) -> float:
        """How long all calls have looked for chains."""
        return float(self._study.user_attrs.get("seconds", 0.0))

    def spend(self, seconds: float) -> None:
        """Add to that."""
        self._study.set_user_attr("seconds", self.seconds + seconds)

    @property
    def judged(self) -> frozenset[str]:
        """What test has judged in all calls: variant-target."""
        return frozenset(self._study.user_attrs.get("judged", ()))

    def note_judged(self, pairs: Iterable[str]) -> None:
        """Add to that."""
        self._study.set_user_attr("judged", sorted(self.judged | set(pairs)))

    def _orders_to_try(self, tried: tuple[Tried, ...]) -> list[Order]:
        """By the clock only where a clock ends the search: `trials` alone give the same chains on every machine."""
        had = {one.order for one in tried}
        left = [order for order in self._shuffled if order not in had]
        return quickest_first(left, () if self._search.minutes is None else tried, self._search.methods)

    def _repeat(self, one: Tried, before: Tried) -> None:
        """A chain that is known: the sampler is told the same again, where there is something to tell."""
        self.note(one.number, same_as=before.number)
        self.tell(one.number, before.brief)

    def _sampled(self, trial: Trial) -> tuple[Step, ...]:
        order = trial.suggest_categorical(ORDER, [THEN.join(order) for order in self._orders])
        return self._steps(order, lambda knob, count: trial.suggest_int(knob, 0, count - 1))

    def _chain(self, params: Mapping[str, Any]) -> tuple[Step, ...] | None:
        """The chain that a trial's parameters say; None where it was killed before all were drawn."""
        try:
            return self._steps(params[ORDER], lambda knob, _: int(params[knob]))
        except KeyError:
            return None

    def _steps(self, order: str, index: Callable[[str, int], int]) -> tuple[Step, ...]:
        """The chain of an order whose strengths are at these places of their lists: neighbours there are neighbours for the sampler."""
        names = tuple(order.split(THEN))
        return tuple(
            Step(name, self._search.methods[name], {knob: values[index(f"{name}.{knob}", len(values))] for knob, values in of.items()})
            for name, of in zip(names, knobs(self._search, names), strict=True)
        )


def _asked(study: optuna.Study) -> Trial:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return study.ask()


def _sampler(seed: int) -> optuna.samplers.BaseSampler:
    """Tree-structured Parzen estimators over several objectives (Ozaki et al. 2022, doi:10.1613/jair.1.13188); chains that run count as bad
    ones, so that those proposed together differ."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return optuna.samplers.TPESampler(seed=seed, n_startup_trials=AT_RANDOM, constant_liar=True)


def _opened(journal: Path, seed: int) -> optuna.Study:
    journal.parent.mkdir(parents=True, exist_ok=True)
    for left in journal.parent.glob(f"{journal.name}.lock*"):  # of a process that was killed: the caller holds a lock of its own
        left.unlink()
    if journal.exists():
        _cut_torn_line(journal)
    try:
        storage = JournalStorage(JournalFileBackend(str(journal)))
        return optuna.create_study(
            study_name=STUDY, storage=storage, sampler=_sampler(seed), directions=["minimize"] * 3, load_if_exists=True
        )
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{journal}: the search's journal is damaged ({type(error).__name__}); remove it to begin anew") from None


def _cut_torn_line(journal: Path) -> None:
    content = journal.read_bytes()
    if content and not content.endswith(b"\n"):
        with journal.open("r+b") as stream:
            stream.truncate(content.rfind(b"\n") + 1)
