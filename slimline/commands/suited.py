"""What `slimline init` takes out again: variants that a net of one's own cannot become, found by trying them on it untrained.

Which layers a Hugging Face directory or somebody's own builder has is only seen where the net is built, so params.yaml is written with what
suits its kind, the data are prepared (the line has to do that anyway), and every method is tried at its strength on a few real samples.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from textwrap import shorten

from slimline.artifact.folder import write_text
from slimline.commands.deep import REFUSED, trials
from slimline.commands.looked import Looked, checked
from slimline.errors import SlimlineError
from slimline.params import CONFIGS, Params
from slimline.workloads.huggingface.directory import is_directory

LONGEST = 200
"""Characters of a reason: one that names every layer would fill a screen; `slimline check --deep` says it whole."""
VARIANT = re.compile(r"  ([\w.-]+): \{")
DEPLOYED = re.compile(r"^  variants: \[(.*)\]$", re.MULTILINE)
CACHED = re.compile(r"^# .*\ncache: .*\{variant: ([^,]+),.*\n", re.MULTILINE)


def is_own(model: str) -> bool:
    """Whether a net is none of ours, so that it takes a trial to know what can be done to it."""
    return is_directory(model) or ".py:" in model


def suited(looked: Looked, params: Path) -> Looked:
    """The same findings with the variants that can be made of the net; `params` holds the text, and holds the shorter one afterwards.

    Where the trial itself fails, the text stays as it is, and a line says why nothing was tried: `slimline check --deep` says it again.
    """
    root = params.parent
    try:
        tried = trials(root, only_variants=True)
    except SlimlineError as error:
        return _noted(looked, str(error).splitlines()[0])
    refused = {trial["what"]: trial["said"] for trial in tried if trial["outcome"] == REFUSED}
    reasons = {place.partition(".")[2]: _reason(place, said) for place, said in refused.items() if place.partition(".")[0] in CONFIGS}
    if net := [said for place, said in refused.items() if place.partition(".")[0] not in CONFIGS]:
        return _noted(looked, net[0].splitlines()[0])
    out = _with_dependents(Params.load(params, root), reasons)
    if not out:
        return replace(looked, found={**looked.found, "left_out": {}})
    text = without(looked.text, out)
    write_text(params, text)
    lines = tuple(f"left out: {name}: {reason}" for name, reason in out.items())
    return Looked((*looked.lines, *lines), {**looked.found, "left_out": out}, text)


def without(text: str, reasons: Mapping[str, str]) -> str:
    """A params.yaml of `init` in which each of these variants is a comment that says why; nothing names them."""
    kept, section, left = [], "", dict[str, int]()
    for line in text.splitlines():
        if line and line[0].isalpha():
            section = line.partition(":")[0]
        found = VARIANT.match(line) if section in CONFIGS else None
        if found and found[1] in reasons:
            kept.append(f"  # {found[1]} is left out: {reasons[found[1]]}")
            continue
        left[section] = left.get(section, 0) + bool(found)
        kept.append(line)
    kept = [f"{line} {{}}" if line.removesuffix(":") in CONFIGS and not left[line[:-1]] else line for line in kept]
    return checked(_unnamed("\n".join(kept) + "\n", reasons))


def _unnamed(text: str, reasons: Mapping[str, str]) -> str:
    """Neither deployed nor tried with caches."""
    found = DEPLOYED.search(text)
    assert found is not None
    names = [name for name in found[1].split(", ") if name not in reasons]
    text = text.replace(found[0], f"  variants: [{', '.join(names)}]")
    cached = CACHED.search(text)
    return text.replace(cached[0], "") if cached and cached[1] in reasons else text


def _with_dependents(params: Params, reasons: Mapping[str, str]) -> dict[str, str]:
    """The refused variants, and all that start from one of them."""
    found = dict(reasons)
    for name in params.variants:
        if gone := [source for source in params.lineage(name) if source in reasons and source != name]:
            found.setdefault(name, f"it starts from {gone[0]}")
    return found


def _reason(place: str, said: str) -> str:
    """A refusal without its place, and without the way out, which has been taken."""
    line = said.splitlines()[0].removeprefix(f"params.yaml: {place}: ")
    return shorten(line.rpartition(";")[0] or line, LONGEST, placeholder=" …")


def _noted(looked: Looked, why: str) -> Looked:
    return replace(looked, lines=(*looked.lines, f"the variants were not tried: {why}"), found={**looked.found, "not_tried": why})
