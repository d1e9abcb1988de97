"""Does the compiled model compute what its source computes? Compared on real samples, with the bounds stated."""

import numpy as np
from numpy.typing import NDArray

from slimline.artifact.compiled import Parity
from slimline.errors import StageError

RELATIVE_TOLERANCE = 1e-3
MIN_AGREEMENT = {"float32": 1.0, "other": 0.97}
MIN_SQNR_DB = 20.0
TIE = 1e-3
SHOWN_LOGITS = 12

Logits = NDArray[np.float32]


def compare_outputs(reference: Logits, outputs: Logits, *, exact: bool, source: Logits | None = None) -> Parity:
    """Compare logits [N, classes].

    `exact` (a float32 model): no logit may differ by more than a thousandth of the largest one, and every class must agree.
    Otherwise (int8, 16-bit; the reference is then the plan's simulation): 97 % of classes agree, and the signal to noise
    ratio is at least 20 dB. A sample whose two best reference logits differ by less than a thousandth of the largest logit
    has no class to agree on and counts as agreeing. Where the plan itself is further than that from the float `source`,
    its own distance is the bound: a runtime may round no more than the plan does, and what that costs is the gate's to judge.
    """
    differences = np.abs(outputs.astype(np.float64) - reference)
    largest = max(float(np.abs(reference).max()), 1e-6)
    own = None if exact or source is None else source
    return Parity(
        reference="source" if exact else "simulation",
        samples=len(reference),
        max_abs_difference=_rounded(float(differences.max())),
        tolerance=_rounded(RELATIVE_TOLERANCE * largest) if exact else None,
        agreement=_agreement(reference, outputs),
        min_agreement=min(MIN_AGREEMENT["float32" if exact else "other"], 1.0 if own is None else _agreement(own, reference)),
        sqnr_db=None if exact else _sqnr_db(reference, outputs),
        min_sqnr_db=None if exact else min(MIN_SQNR_DB, MIN_SQNR_DB if own is None else _sqnr_db(own, reference)),
    )


def _agreement(reference: Logits, outputs: Logits) -> float:
    """The share of samples that get the same class, ties counted as the same."""
    best = np.sort(reference, axis=1)
    tied = best[:, -1] - best[:, -2] < TIE * max(float(np.abs(reference).max()), 1e-6)
    return float(((reference.argmax(axis=1) == outputs.argmax(axis=1)) | tied).mean())


def _sqnr_db(reference: Logits, outputs: Logits) -> float:
    """Signal to noise ratio in dB, at most 200."""
    noise = float(((outputs.astype(np.float64) - reference) ** 2).sum())
    power = float((reference.astype(np.float64) ** 2).sum())
    return round(min(float(10 * np.log10(max(power, 1e-20) / max(noise, 1e-20))), 200.0), 2)


def require_parity(label: str, parity: Parity, reference: Logits, outputs: Logits) -> None:
    """Fail where a bound is broken, with the worst sample.

    Raises:
        StageError: naming the bound, the sample's row in the validation split and both its logits.
    """
    broken = list(_broken(parity))
    if not broken:
        return
    worst = int(np.abs(outputs - reference).max(axis=1).argmax())
    expected, found = (np.array2string(row[worst][:SHOWN_LOGITS], precision=4, separator=", ") for row in (reference, outputs))
    raise StageError(
        f"compile.{label}: outputs differ from the {parity.reference}: {'; '.join(broken)}; worst is row {worst} of validation: "
        f"{parity.reference} {' '.join(expected.split())}, compiled {' '.join(found.split())}"
    )


def _broken(parity: Parity) -> list[str]:
    found = []
    if not np.isfinite(parity.max_abs_difference):
        found.append("a compiled logit is not finite")
    if parity.tolerance is not None and not parity.max_abs_difference <= parity.tolerance:
        found.append(f"largest difference {parity.max_abs_difference:.4g} is above {parity.tolerance:.4g}")
    if parity.agreement < parity.min_agreement:
        found.append(f"{parity.agreement:.1%} of {parity.samples} samples get the same class, at least {parity.min_agreement:.0%} must")
    if parity.sqnr_db is not None and parity.min_sqnr_db is not None and parity.sqnr_db < parity.min_sqnr_db:
        found.append(f"signal to noise {parity.sqnr_db:.1f} dB is below {parity.min_sqnr_db:.0f} dB")
    return found


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")
