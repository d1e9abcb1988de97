"""The page of benchmarks/matrix.py: a table a net, methods by targets, and below it the sentences that refuse."""

from collections.abc import Mapping
from typing import Any

from matrix_nets import METHODS, NETS

from slimline.params import TARGETS, TEACHER
from slimline.report.numbers import loss

Cells = Mapping[str, Mapping[str, Any]]
HEAD = """# What fits

Every kind of net below was put through every method and compiled for every target, by `python benchmarks/matrix.py --out FOLDER --docs`.
A cell says **how much worse the metric is** than the teacher's on the test split (bold where the 95 % interval lies above 0), and how many
times faster than the teacher in eager PyTorch, on 32 samples and one thread. A letter is a refusal: the sentence stands below
the table. A dot was not measured. The trainings are short (3 to 20 epochs): this page shows what works, not how well a method can do.
Speeds are one launch, without an interval, of nets that take well below a millisecond a sample: the line's own `time` is what to trust.
"""


def markdown(found: Mapping[str, tuple[Cells, str]], machine: Mapping[str, Any]) -> str:
    """The whole page."""
    parts = [HEAD, f"Measured on {machine.get('cpu', 'this machine')}.", summary(found)]
    parts += [section(name, cells, refused) for name, (cells, refused) in found.items()]
    return "\n".join(parts).rstrip() + "\n"


def summary(found: Mapping[str, tuple[Cells, str]]) -> str:
    """How many cells of each net work, target by target."""
    lines = ["", f"| net | {' | '.join(TARGETS)} |", "|:--|" + "--:|" * len(TARGETS)]
    for name, (cells, _) in found.items():
        each = [[cell for key, cell in cells.items() if key.endswith(f" {target}")] for target in TARGETS]
        shown = [f"{sum('refused' not in cell for cell in some)} of {len(some)}" if some else "·" for some in each]
        lines.append(f"| {name} | {' | '.join(shown)} |")
    return "\n".join([*lines, ""])


def section(name: str, cells: Cells, refused: str) -> str:
    """One net's table and its refusals."""
    sentences: dict[str, str] = {}
    lines = [f"## {name}", "", f"{NETS[name].text[0].upper()}{NETS[name].text[1:]}; the metric is {NETS[name].metric}.", ""]
    if refused:
        return "\n".join([*lines, f"Refused: {refused}", ""])
    lines += [f"| method | {' | '.join(TARGETS)} |", "|:--|" + "--:|" * len(TARGETS)]
    for method in (TEACHER, *(variant for variants in METHODS.values() for variant in variants)):
        shown = [_cell(cells.get(f"{method} {target}"), sentences) for target in TARGETS]
        lines.append(f"| {method} | {' | '.join(shown)} |")
    return "\n".join([*lines, "", *(f"- **{letter}**: {text}" for text, letter in sentences.items()), ""])


def _cell(cell: Mapping[str, Any] | None, sentences: dict[str, str]) -> str:
    if cell is None:
        return "·"
    if "refused" in cell:
        return sentences.setdefault(str(cell["refused"]), _letter(len(sentences)))
    worse = loss(cell["drop"], cell["unit"])
    return f"{f'**{worse}**' if cell['ci'][0] > 0 else worse}, {cell['speed']:.1f}×"


def _letter(place: int) -> str:
    return chr(ord("a") + place) if place < 26 else f"{_letter(place // 26 - 1)}{_letter(place % 26)}"
