"""`slimline methods`: the table, and one method with its options."""

import json
from typing import Annotated, Literal

import pytest
from pydantic import Field
from typer.testing import CliRunner

from slimline.cli import app
from slimline.commands.options import Option, options
from slimline.errors import InputError
from slimline.params import CONFIGS
from slimline.params.section import Count, Training, VariantParams


class Invented(VariantParams):
    """A config with every kind of field."""

    method: Literal["invented"]
    kind: Literal["a", "b"] = "a"
    """Which kind
    it is."""
    share: Annotated[float, Field(gt=0, le=1)]
    bits: tuple[Literal[4, 8], ...] = (4, 8)
    rounds: Count | None = None
    recover: Training = Training(epochs=7)
    relearn: Training | None = None


def test_the_options_of_a_config_are_read_from_its_fields() -> None:
    found = {option.name: option for option in options(Invented)}
    assert found["kind"] == Option("kind", "a | b", "a", "Which kind it is.")
    assert found["share"] == Option("share", "number > 0, ≤ 1", "required", "")
    assert found["bits"] == Option("bits", "list of 4 | 8", "[4, 8]", "")
    assert found["rounds"] == Option("rounds", "whole number ≥ 1, ≤ 10,000,000", "none", "")
    assert (found["recover.epochs"].type, found["recover.epochs"].default) == ("whole number ≥ 0, ≤ 100,000", "7")
    assert found["relearn.epochs"].default == "5"
    assert found["source"].default == "required"
    assert "method" not in found


@pytest.mark.parametrize(("stage", "name"), [(stage, name) for stage, configs in CONFIGS.items() for name in configs])
def test_every_method_is_shown_with_all_its_options(stage: str, name: str) -> None:
    result = CliRunner().invoke(app, ["methods", name, "--json"])
    assert result.exit_code == 0, result.output
    shown = json.loads(result.stdout)
    assert (shown["stage"], shown["method"]) == (stage, name)
    named = {option["name"].partition(".")[0] for option in shown["options"]}
    assert named == set(CONFIGS[stage][name].model_fields) - {"method"}
    assert [option["name"] for option in shown["options"] if not option["description"].endswith(".")] == []
    assert {"needs_data", "changes_shape", "may_follow", "impossible_on", "judgement", "page"} <= set(shown)


def test_one_method_on_the_terminal() -> None:
    shown = CliRunner().invoke(app, ["methods", "static"]).stdout
    assert "quantize: static" in shown
    assert "docs/methods/quantization.md#static" in shown
    assert "keep_float" in shown
    assert "eager PyTorch has no int8 kernels" in shown


def test_the_table_holds_every_method_with_its_judgement() -> None:
    rows = json.loads(CliRunner().invoke(app, ["methods", "--json"]).stdout)
    assert {(row["stage"], row["method"]) for row in rows} == {(stage, name) for stage, configs in CONFIGS.items() for name in configs}
    assert all(row["judgement"].endswith(".") for row in rows)


def test_an_unknown_name_is_an_input_error_with_a_suggestion() -> None:
    result = CliRunner().invoke(app, ["methods", "statik"])
    assert isinstance(result.exception, InputError)
    assert result.exception.exit_code == 2
    assert "no method 'statik'; did you mean 'static'?" in str(result.exception)
