"""Allocation: the whole is met, no layer goes below the floor, and no shift between layers would harm less."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slimline.errors import StageError
from slimline.methods.prune.allocation import allocated

SIZES = {"stem": 500, "middle": 40_000, "hidden": 800_000, "head": 4_000}
SENSITIVITY = {"stem": 0.1, "middle": 0.02, "hidden": 0.05, "head": 0.15}


def harm(shares: dict[str, float]) -> float:
    return sum((SENSITIVITY[name] * share / (1 - share)) ** 2 for name, share in shares.items())


@given(st.floats(0.01, 0.98), st.floats(0, 0.01))
@settings(max_examples=60, deadline=None)
def test_the_shares_make_the_amount_and_keep_the_floor(amount: float, floor: float) -> None:
    shares = allocated(SIZES, SENSITIVITY, amount, floor=floor)
    assert sum(SIZES[name] * share for name, share in shares.items()) == pytest.approx(amount * sum(SIZES.values()), rel=1e-6)
    assert all(0 < share <= 1 - floor and share < 1 for share in shares.values())


def test_less_where_it_hurts_more_and_more_where_there_is_more() -> None:
    shares = allocated({"a": 100, "b": 100, "c": 400}, {"a": 0.1, "b": 0.3, "c": 0.1}, 0.5)
    assert shares["b"] < shares["a"] < shares["c"]
    equal = allocated({"a": 100, "b": 100}, {"a": 0.2, "b": 0.2}, 0.5)
    assert equal == pytest.approx({"a": 0.5, "b": 0.5}, abs=1e-6)


def test_no_shift_between_two_layers_harms_less() -> None:
    shares = allocated(SIZES, SENSITIVITY, 0.7)
    for giver, taker in itertools.permutations(SIZES, 2):
        weights = 20
        moved = {giver: shares[giver] + weights / SIZES[giver], taker: shares[taker] - weights / SIZES[taker]}
        assert harm(shares | moved) > harm(shares), (giver, taker)


def test_a_floor_holds_and_the_others_give_the_rest() -> None:
    free, bound = allocated(SIZES, SENSITIVITY, 0.9), allocated(SIZES, SENSITIVITY, 0.9, floor=0.095)
    assert bound["hidden"] == pytest.approx(0.905)
    assert free["hidden"] > 0.905
    assert all(bound[name] > free[name] for name in ("stem", "middle", "head"))
    assert allocated(SIZES, SENSITIVITY, 0.9, floor=0.1) == dict.fromkeys(SIZES, 0.9)


def test_harmless_and_unmeasured_layers() -> None:
    shares = allocated(SIZES | {"new": 1_000}, SENSITIVITY | {"middle": 0.0}, 0.5, floor=0.02)
    assert shares["middle"] == pytest.approx(0.98), "a layer that moves nothing goes first, down to the floor"
    assert shares["new"] == 0.5
    assert allocated(SIZES, {}, 0.5) == dict.fromkeys(SIZES, 0.5)
    assert allocated(SIZES, SENSITIVITY, 0.0) == dict.fromkeys(SIZES, 0.0)


def test_a_floor_that_leaves_too_little_is_refused() -> None:
    with pytest.raises(StageError, match=r"floor of 0\.2 leaves at most 0\.8 .* 0\.9 is asked"):
        allocated(SIZES, SENSITIVITY, 0.9, floor=0.2)
