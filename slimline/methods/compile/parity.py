"""Does the compiled model compute what its source computes? Compared on real samples, with the bounds stated."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from slimline.artifact.compiled import Parity
from slimline.data.batch import Tensors
from slimline.errors import StageError
from slimline.objectives import Objective

RELATIVE_TOLERANCE = 1e-3
MIN_AGREEMENT = {"float32": 1.0, "other": 0.97}
MIN_SQNR_DB = 20.0
SHOWN_NUMBERS = 12

Array = NDArray[Any]
Outputs = Array | Mapping[str, Array]
"""What a model gives for N samples: one array [N, …], or several by name."""


def compare_outputs(reference: Outputs, outputs: Outputs, *, objective: Objective, exact: bool, source: Outputs | None = None) -> Parity:
    """Compare what two models give for the same samples.

    `exact` (a float32 model): no number may differ by more than a thousandth of the largest one, and every answer must agree.
    Otherwise (int8, 16-bit; the reference is then the plan's simulation): 97 % of answers agree, and the signal to noise
    ratio is at least 20 dB. What an equal answer is, ties included, the objective says. Where the plan itself is further than that from
    the float `source`, its own distance is the bound: a runtime may round no more than the plan does, and what that costs is the gate's
    to judge.

    Raises:
        StageError: the outputs have other names or shapes than the reference's.
    """
    return parity_of([compared(reference, outputs, objective=objective, source=None if exact else source)], exact=exact)


@dataclass(frozen=True)
class Compared:
    """What two models gave for some samples, in sums: as much as `parity_of` needs, so that outputs need not be held together.

    `agreeing` counts samples with the same answer, `noise` and `power` are sums of squares; `own_…` are the plan's beside its source.
    """

    samples: int
    max_abs_difference: float
    largest: float
    agreeing: float
    noise: float
    power: float
    own_agreeing: float | None = None
    own_noise: float | None = None
    own_power: float | None = None


def compared(reference: Outputs, outputs: Outputs, *, objective: Objective, source: Outputs | None = None) -> Compared:
    """Compare what two models give for some samples; see compare_outputs.

    Raises:
        StageError: the outputs have other names or shapes than the reference's.
    """
    _require_alike(reference, outputs)
    agreeing = float(objective.same_answers(_tensors(reference), _tensors(outputs)).sum())
    greatest = max(float(np.abs(difference).max()) for difference in _differences(reference, outputs))
    found = Compared(len(_arrays(reference)[0]), greatest, _largest(reference), agreeing, *_powers(reference, outputs))
    if source is None:
        return found
    own_agreeing = float(objective.same_answers(_tensors(source), _tensors(reference)).sum())
    own_noise, own_power = _powers(source, reference)
    return replace(found, own_agreeing=own_agreeing, own_noise=own_noise, own_power=own_power)


def parity_of(parts: Sequence[Compared], *, exact: bool) -> Parity:
    """The parity over all parts; see compare_outputs."""
    samples = sum(part.samples for part in parts)
    own = [part for part in parts if part.own_agreeing is not None]
    least = MIN_AGREEMENT["float32" if exact else "other"]
    own_agreement = sum(part.own_agreeing or 0.0 for part in own) / samples if own else 1.0
    own_db = _decibels([part.own_noise or 0.0 for part in own], [part.own_power or 0.0 for part in own]) if own else MIN_SQNR_DB
    return Parity(
        reference="source" if exact else "simulation",
        samples=samples,
        max_abs_difference=_rounded(max(part.max_abs_difference for part in parts)),
        tolerance=_rounded(RELATIVE_TOLERANCE * max(part.largest for part in parts)) if exact else None,
        agreement=sum(part.agreeing for part in parts) / samples,
        min_agreement=min(least, own_agreement),
        sqnr_db=None if exact else _decibels([part.noise for part in parts], [part.power for part in parts]),
        min_sqnr_db=None if exact else min(MIN_SQNR_DB, own_db),
    )


def require_parity(label: str, parity: Parity, reference: Outputs, outputs: Outputs) -> None:
    """Fail where a bound is broken, with the worst sample.

    Raises:
        StageError: naming the bound, the sample's row in the validation split and what both give for it.
    """
    broken = list(_broken(parity))
    if not broken:
        return
    by_sample = [np.abs(difference).reshape(len(difference), -1).max(axis=1) for difference in _differences(reference, outputs)]
    worst = int(np.maximum.reduce(by_sample).argmax())
    expected, found = (_shown(each, worst) for each in (reference, outputs))
    raise StageError(
        f"compile.{label}: outputs differ from the {parity.reference}: {'; '.join(broken)}; worst is row {worst} of validation: "
        f"{parity.reference} {expected}, compiled {found}"
    )


def _require_alike(reference: Outputs, outputs: Outputs) -> None:
    before, after = (
        {name: list(value.shape) for name, value in each.items()} if isinstance(each, Mapping) else list(each.shape)
        for each in (reference, outputs)
    )
    if before != after:
        raise StageError(f"compile: the compiled model gives {after} where its source gives {before}")


def _powers(reference: Outputs, outputs: Outputs) -> tuple[float, float]:
    """The sums of squares of the difference and of the reference."""
    noise = sum(float((difference**2).sum()) for difference in _differences(reference, outputs))
    return noise, sum(float((value.astype(np.float64) ** 2).sum()) for value in _arrays(reference))


def _decibels(noise: Sequence[float], power: Sequence[float]) -> float:
    """Signal to noise ratio in dB, at most 200."""
    return round(min(float(10 * np.log10(max(sum(power), 1e-20) / max(sum(noise), 1e-20))), 200.0), 2)


def _broken(parity: Parity) -> list[str]:
    found = []
    if not np.isfinite(parity.max_abs_difference):
        found.append("a compiled output is not finite")
    if parity.tolerance is not None and not parity.max_abs_difference <= parity.tolerance:
        found.append(f"largest difference {parity.max_abs_difference:.4g} is above {parity.tolerance:.4g}")
    if parity.agreement < parity.min_agreement:
        found.append(f"{parity.agreement:.1%} of {parity.samples} samples get the same answer, at least {parity.min_agreement:.0%} must")
    if parity.sqnr_db is not None and parity.min_sqnr_db is not None and parity.sqnr_db < parity.min_sqnr_db:
        found.append(f"signal to noise {parity.sqnr_db:.1f} dB is below {parity.min_sqnr_db:.0f} dB")
    return found


def _differences(reference: Outputs, outputs: Outputs) -> list[NDArray[np.float64]]:
    return [now.astype(np.float64) - before for before, now in zip(_arrays(reference), _arrays(outputs), strict=True)]


def _largest(outputs: Outputs) -> float:
    return max(max(float(np.abs(value).max()) for value in _arrays(outputs)), 1e-6)


def _shown(outputs: Outputs, row: int) -> str:
    """The first numbers of one sample."""
    numbers = np.concatenate([value[row].reshape(-1) for value in _arrays(outputs)])[:SHOWN_NUMBERS]
    return " ".join(np.array2string(numbers, precision=4, separator=", ").split())


def _arrays(outputs: Outputs) -> list[Array]:
    return list(outputs.values()) if isinstance(outputs, Mapping) else [outputs]


def _tensors(outputs: Outputs) -> Tensors:
    if isinstance(outputs, Mapping):
        return {name: torch.from_numpy(value) for name, value in outputs.items()}
    return torch.from_numpy(outputs)


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")
