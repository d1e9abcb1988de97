"""Which orders are tried first: those that are quick to train, by the chains so far.

A method's time hangs on the net that it finds: the whole teacher, or a fresh student, which is a fraction of it. So times are kept by
place: the method, whether it begins the chain, and whether a distillation did.
"""

from collections.abc import Iterable, Mapping, Sequence
from statistics import mean

from slimline.params.search import Offered
from slimline.search.chains import Order
from slimline.search.record import Tried

Place = tuple[str, bool, bool]


def quickest_first(orders: Iterable[Order], tried: Iterable[Tried], offered: Mapping[str, Offered]) -> list[Order]:
    """Orders by the seconds that their brief training is expected to take, equals by length; a place not seen yet counts nothing."""
    seconds = place_seconds(tried, offered)
    return sorted(orders, key=lambda order: (sum(seconds.get(place, 0.0) for place in places(order, offered)), len(order)))


def place_seconds(tried: Iterable[Tried], offered: Mapping[str, Offered]) -> dict[Place, float]:
    """The mean seconds of each place's brief training, over the chains in which it was not made already."""
    found: dict[Place, list[float]] = {}
    for one in tried:
        for place, seconds in zip(places(one.order, offered), one.brief_seconds, strict=False):
            if seconds:
                found.setdefault(place, []).append(seconds)
    return {place: mean(seen) for place, seen in found.items()}


def places(order: Sequence[str], offered: Mapping[str, Offered]) -> list[Place]:
    """What each method of an order finds."""
    student = offered[order[0]].stage == "distill"
    return [(name, index == 0, student) for index, name in enumerate(order)]
