"""What one rule of Great Expectations found in the table of results."""

from dataclasses import dataclass

CRITICAL, WARNING = "critical", "warning"


@dataclass(frozen=True)
class RuleResult:
    """One rule on the table: how grave breaking it is, on how many rows it was checked, and which rows break it."""

    rule: str
    severity: str
    passed: bool
    checked: int
    failing: tuple[str, ...]
