"""How a search ended: what was tried, what was judged on test, and where its page is."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slimline.errors import NothingPassed


@dataclass(frozen=True)
class Searched:
    """One search, over all its calls. `found` is what search.json holds; `folder` has it beside the page and the winning params."""

    folder: Path
    seconds: float
    found: Mapping[str, Any]

    @property
    def page(self) -> Path:
        """Every trial, the frontier, and what each technique is worth."""
        return self.folder / "search.html"

    @property
    def accepted(self) -> tuple[str, ...]:
        """The frontier's variants that the gate accepted on some target."""
        return tuple(self.found["accepted"])

    @property
    def exit_code(self) -> int:
        """3: nothing that was found passed the gate; 0: something did."""
        return 0 if self.accepted else NothingPassed.exit_code

    @property
    def message(self) -> str:
        """One line for people."""
        counts = self.found["counts"]
        passed = f"accepted: {', '.join(self.accepted)}" if self.accepted else "nothing passed the gate"
        return f"{counts['tried']} chains tried, {counts['full']} trained in full, {counts['judged']} judged on test; {passed}"

    def as_json(self) -> dict[str, Any]:
        """What `--json` prints."""
        return {
            "exit_code": self.exit_code,
            "message": self.message,
            "seconds": round(self.seconds, 2),
            **self.found,
            "page": str(self.page),
        }
