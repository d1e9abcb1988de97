"""Great Expectations over the table of results: is the table whole, do the accepted rows keep every rule, and who breaks which."""

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

os.environ["GX_ANALYTICS_ENABLED"] = "false"

import great_expectations as gx
import great_expectations.expectations as gxe
import pandas as pd
from great_expectations.expectations.row_conditions import Column

from slimline.errors import StageError
from slimline.params import GateParams
from slimline.report.gate_rule import CRITICAL, WARNING, RuleResult
from slimline.report.numbers import loss, percent, ratio
from slimline.verdict.gate import margin_of

for _chatty in ("great_expectations", "great_expectations.data_context.types.base"):
    logging.getLogger(_chatty).setLevel(logging.WARNING)

MEASURED = {"drop_high": "drop", "size_ratio": "size", "speed_ratio_low": "speed"}
ONLY_ACCEPTED = {"row_condition": Column("verdict") == "accept"}


@dataclass(frozen=True)
class Rule:
    """A rule in words and as an expectation."""

    words: str
    severity: str
    expectation: type[gx.expectations.Expectation]
    limits: Mapping[str, Any]

    def build(self) -> Any:
        """The expectation; its meta carries the words, by which its result is found again."""
        return self.expectation(**self.limits, meta={"rule": self.words})


def results_frame(rows: Sequence[Mapping[str, Any]], baseline: Mapping[str, Any], gate: GateParams) -> pd.DataFrame:
    """summary.json's variants as a flat table, one row a deployed variant; intervals are given by the end that counts."""
    return pd.DataFrame(
        [
            {
                "key": f"{row['variant']}-{row['target']}",
                "verdict": row["verdict"],
                "quality": row["quality"][row["drop"]["metric"]]["value"],
                "drop_high": margin_of(gate, {**row, "baseline": baseline}).ci[1],
                "size_ratio": row["size_ratio"],
                "speed_ratio_low": row["speed_ratio"]["batch_1"]["ci"][0],
            }
            for row in rows
        ]
    )


def check_results(frame: pd.DataFrame, gate: GateParams, unit: str) -> tuple[RuleResult, ...]:
    """Run every rule; the context is ephemeral, and nothing is sent anywhere.

    Raises:
        StageError: a critical rule is broken, which means that measurement and verdict contradict each other.
    """
    rules = _rules(gate, unit)
    suite = gx.ExpectationSuite(name="results", expectations=[rule.build() for rule in rules])
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    asset = context.data_sources.add_pandas("results").add_dataframe_asset("variants")
    batch = asset.add_batch_definition_whole_dataframe("all").get_batch(batch_parameters={"dataframe": frame})
    options = {"result_format": "COMPLETE", "unexpected_index_column_names": ["key"]}
    outcome = batch.validate(suite, result_format=options)
    results = tuple(_result(rule, found) for rule, found in zip(rules, _in_order(rules, outcome.results), strict=True))
    for result in results:
        if result.severity == CRITICAL and not result.passed:
            broken = ", ".join(result.failing) or "the table"
            raise StageError(f"table of results: {result.rule!r} is broken by {broken}; measurement and verdict contradict each other")
    return results


def _rules(gate: GateParams, unit: str) -> tuple[Rule, ...]:
    between, present = gxe.ExpectColumnValuesToBeBetween, gxe.ExpectColumnValuesToNotBeNull
    verdicts = {"column": "verdict", "value_set": ["accept", "reject", "inconclusive"]}
    whole = (
        Rule("each variant stands once per target", CRITICAL, gxe.ExpectColumnValuesToBeUnique, {"column": "key"}),
        Rule("every verdict is accept, reject or inconclusive", CRITICAL, gxe.ExpectColumnValuesToBeInSet, verdicts),
        Rule("the gate's metric is a number", CRITICAL, present, {"column": "quality"}),
        *(Rule(f"every {words} is measured", CRITICAL, present, {"column": column}) for column, words in MEASURED.items()),
    )
    limits = _limits(gate, unit)
    kept = tuple(Rule(f"of the accepted: {words}", CRITICAL, between, {**limit, **ONLY_ACCEPTED}) for words, limit in limits.items())
    return (*whole, *kept, *(Rule(f"of all: {words}", WARNING, between, limit) for words, limit in limits.items()))


def _limits(gate: GateParams, unit: str) -> dict[str, dict[str, Any]]:
    """The gate's three limits in words, each with the column's bounds."""
    relative = gate.max_relative_drop
    most = gate.max_drop if relative is None else relative
    written = loss(most, unit) if relative is None else f"{percent(relative)} of the teacher's"
    return {
        f"the drop's interval ends at or below {written}": {"column": "drop_high", "max_value": most},
        f"the teacher has at least {ratio(gate.min_size_ratio)} the bytes": {"column": "size_ratio", "min_value": gate.min_size_ratio},
        f"the speed ratio's interval at batch 1 starts at or above {ratio(gate.min_speed_ratio)}": {
            "column": "speed_ratio_low",
            "min_value": gate.min_speed_ratio,
        },
    }


def _in_order(rules: Sequence[Rule], found: Sequence[Any]) -> list[Any]:
    """Great Expectations regroups the results; put them back by the rule's words."""
    by_words = {result.expectation_config.meta["rule"]: result for result in found}
    return [by_words[rule.words] for rule in rules]


def _result(rule: Rule, found: Any) -> RuleResult:
    detail = found.result
    failing = tuple(str(row["key"]) for row in detail.get("unexpected_index_list") or ())
    return RuleResult(rule.words, rule.severity, bool(found.success), int(detail.get("element_count", 0)), failing)
