"""Does the compiled model compute what its source computes? Compared on real samples, with the bounds stated."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

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
    to judge. It may round otherwise, too (ranges found while running are the runtime's own affair): what is beyond these bounds beside
    the simulation is held to them beside the source itself.

    Raises:
        StageError: the outputs have other names or shapes than the reference's.
    """
    return parity_of([compared(reference, outputs, objective=objective, source=None if exact else source)], exact=exact)


@dataclass(frozen=True)
class Compared:
    """What two models gave for some samples, in sums: as much as `parity_of` needs, so that outputs need not be held together.

    `agreeing` counts samples with the same answer, `noise` and `power` are sums of squares; `own` is the plan beside its source, and
    `beside_source` what is compared beside that.
    """

    samples: int
    max_abs_difference: float
    largest: float
    agreeing: float
    noise: float
    power: float
    own: "Compared | None" = None
    beside_source: "Compared | None" = None


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
    own, beside_source = (compared(source, each, objective=objective) for each in (reference, outputs))
    return replace(found, own=own, beside_source=beside_source)


def parity_of(parts: Sequence[Compared], *, exact: bool) -> Parity:
    """The parity over all parts; see compare_outputs."""
    if exact:
        greatest, tolerance = _greatest(parts), _rounded(RELATIVE_TOLERANCE * max(part.largest for part in parts))
        bounds: dict[str, Any] = {"tolerance": tolerance, "min_agreement": MIN_AGREEMENT["float32"], "sqnr_db": None, "min_sqnr_db": None}
        samples, agreement = _agreement(parts)
        return Parity(reference="source", samples=samples, max_abs_difference=greatest, agreement=agreement, **bounds)
    own = [part.own for part in parts if part.own is not None]
    bounds = {"tolerance": None, "min_agreement": MIN_AGREEMENT["other"], "min_sqnr_db": MIN_SQNR_DB}
    if own:
        bounds |= {"min_agreement": min(MIN_AGREEMENT["other"], _agreement(own)[1]), "min_sqnr_db": min(MIN_SQNR_DB, _decibels(own))}
    beside = _inexact("simulation", parts, bounds)
    closer = [part.beside_source for part in parts if part.beside_source is not None]
    if not list(_broken(beside)) or not closer or list(_broken(_inexact("source", closer, bounds))):
        return beside
    return _inexact("source", closer, bounds)


def _inexact(reference: Literal["source", "simulation"], parts: Sequence[Compared], bounds: Mapping[str, Any]) -> Parity:
    samples, agreement = _agreement(parts)
    decibels, greatest = _decibels(parts), _greatest(parts)
    return Parity(reference=reference, samples=samples, max_abs_difference=greatest, agreement=agreement, sqnr_db=decibels, **bounds)


def _agreement(parts: Sequence[Compared]) -> tuple[int, float]:
    """How many samples there are, and the share with the same answer."""
    samples = sum(part.samples for part in parts)
    return samples, sum(part.agreeing for part in parts) / samples


def _greatest(parts: Sequence[Compared]) -> float:
    return _rounded(max(part.max_abs_difference for part in parts))


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


def _decibels(parts: Sequence[Compared]) -> float:
    """Signal to noise ratio in dB, at most 200."""
    noise, power = sum(part.noise for part in parts), sum(part.power for part in parts)
    return round(min(float(10 * np.log10(max(power, 1e-20) / max(noise, 1e-20))), 200.0), 2)


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
