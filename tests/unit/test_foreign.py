"""Errors of code that is not ours: what a library raises over what it is given, apart from our own mistakes and the user's."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from slimline.errors import Impossible
from slimline.foreign import library_call, module_of_file

CALL = library_call(lambda reason: Impossible(f"cannot be compiled: {reason}"))


class Deciding(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


def test_what_a_library_raises_is_told_with_the_place_in_the_users_code_that_led_there() -> None:
    with (
        pytest.raises(Impossible, match=r"^cannot be compiled: json.*JSONDecodeError: Expecting value.* \(test_foreign.py, line \d+\)$"),
        CALL,
    ):
        json.loads("not json")


def test_what_stops_an_export_is_one_line() -> None:
    with pytest.raises(Impossible, match="cannot be compiled: ") as found, CALL:
        torch.export.export(Deciding(), (torch.ones(2),))
    assert "\n" not in str(found.value)


@pytest.mark.parametrize("error", [FileNotFoundError("x"), ModuleNotFoundError("jax"), MemoryError(), Impossible("ours")])
def test_what_is_told_elsewhere_passes(error: Exception) -> None:
    with pytest.raises(type(error)) as found, CALL:
        raise error
    assert found.value is error


@pytest.mark.parametrize("name", ["theirs", "slimline.methods.mistaken"])
def test_a_mistake_in_the_users_code_or_ours_passes_as_it_is(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "mistaken.py").write_text("def lower(graph):\n    return graph['missing']\n")
    mistaken = module_of_file(tmp_path / "mistaken.py", "trial")
    monkeypatch.setitem(mistaken.__dict__, "__name__", name)
    monkeypatch.setitem(mistaken.__dict__, "__spec__", None)
    with pytest.raises(KeyError), CALL:
        mistaken.lower({})
