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


def page(measured: Mapping[str, tuple[Cells, str]], machine: Mapping[str, Any], standing: str = "") -> str:
    """The whole page: the nets that were measured, and what a page that stands says of the others."""
    cpu = str(machine.get("cpu", "this machine"))
    rows = _rows(standing) | {name: _row(name, cells) for name, (cells, _) in measured.items()}
    sections = _sections(standing) | {name: section(name, cells, refused, cpu) for name, (cells, refused) in measured.items()}
    summary = [f"| net | {' | '.join(TARGETS)} |", "|:--|" + "--:|" * len(TARGETS), *(rows[name] for name in NETS if name in rows), ""]
    return "\n".join([HEAD, *summary, *(sections[name] for name in NETS if name in sections)]).rstrip() + "\n"


def _rows(standing: str) -> dict[str, str]:
    lines = (line for line in standing.partition("\n## ")[0].splitlines() if line.startswith("| "))
    return {line.split("|")[1].strip(): line for line in lines}


def _sections(standing: str) -> dict[str, str]:
    return {text.partition("\n")[0]: f"## {text.rstrip()}\n" for text in standing.split("\n## ")[1:]}


def _row(name: str, cells: Cells) -> str:
    """How many cells of a net work, target by target."""
    each = [[cell for key, cell in cells.items() if key.endswith(f" {target}")] for target in TARGETS]
    shown = [f"{sum('refused' not in cell for cell in some)} of {len(some)}" if some else "·" for some in each]
    return f"| {name} | {' | '.join(shown)} |"


def section(name: str, cells: Cells, refused: str, cpu: str) -> str:
    """One net's table and its refusals."""
    sentences: dict[str, str] = {}
    facts = f"{NETS[name].text[0].upper()}{NETS[name].text[1:]}; the metric is {NETS[name].metric}. Measured on {cpu}."
    lines = [f"## {name}", "", facts, ""]
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
