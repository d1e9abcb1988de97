"""Successive halving without waiting for a whole generation (ASHA, Li et al. 2018, arXiv:1810.05934): who is trained in full."""

import math
from collections.abc import Mapping

from slimline.params.search import Halving
from slimline.search.figures import Figures
from slimline.search.frontier import ranked


def hopeless(figures: Figures, halving: Halving, max_drop: float) -> str | None:
    """Why a chain goes no further after the brief training; None where it may."""
    most = halving.hopeless_drop if halving.hopeless_drop is not None else 10 * max_drop
    if figures.drop <= most:
        return None
    return f"a drop of {figures.drop:.4g} after the brief training, more than the {most:.4g} from which none is expected to come back"


def promoted(brief: Mapping[str, Figures], halving: Halving, max_drop: float) -> frozenset[str]:
    """Of all chains looked at so far those in the best share, by drop, size and time after the brief training; at least one."""
    hopeful = {name: figures for name, figures in brief.items() if hopeless(figures, halving, max_drop) is None}
    count = max(1, math.ceil(halving.keep * len(brief)))
    return frozenset(ranked(hopeful, max_drop)[:count])
