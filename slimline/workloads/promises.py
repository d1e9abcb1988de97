"""What the members of a workload promise: each function gives the way in which a value breaks its promise, or an empty text.

Nothing here imports torch before it is called: `slimline.workloads` is imported by commands that need none.
"""

import math
from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from numbers import Real
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

LONGEST_NAME, LONGEST_LABEL, MOST_LABELS = 64, 200, 10_000
LONGEST_PICTURE = 100_000
"""Characters of one sample on a page: 48 of them stand on the decision page."""
VOID = frozenset({"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"})
CLOSE_THEMSELVES = frozenset({"li", "p", "td", "th", "tr", "tbody", "thead", "tfoot", "dt", "dd", "option"})
RUNNING = frozenset({"script", "iframe", "object", "embed", "link", "base", "meta"})


def name_breach(name: object) -> str:
    """A name is a short text without a slash: it stands in the paths of releases."""
    allowed = "1 to 64 letters, digits, '-', '_' and '.', the first of them a letter or digit"
    if not isinstance(name, str):
        return f"is {kind(name)}; give {allowed}"
    plain = name.replace("-", "a").replace("_", "a").replace(".", "a")
    whole = plain.isascii() and plain.isalnum() and name[:1].isalnum() and len(name) <= LONGEST_NAME
    return "" if whole else f"is {shown(name)}; give {allowed}"


def task_breach(task: object) -> str:
    """There is one task."""
    return "" if task == "classification" else f"is {shown(task)}; there is one task: 'classification'"


def labels_breach(labels: object) -> str:
    """Two or more class names, none of them twice."""
    if isinstance(labels, str | bytes | Mapping) or not isinstance(labels, Sequence):
        return f"is {kind(labels)}; give a tuple of class names"
    if not 2 <= len(labels) <= MOST_LABELS:
        return f"holds {len(labels)} class names; give 2 to {MOST_LABELS:,}"
    for label in labels:
        if not isinstance(label, str) or not label.strip() or len(label) > LONGEST_LABEL:
            return f"holds {shown(label)}; a class name is a text of 1 to {LONGEST_LABEL} characters"
    twice = next((label for label in labels if list(labels).count(label) > 1), None) if len(set(labels)) < len(labels) else None
    return "" if twice is None else f"holds {shown(twice)} twice; class names are unique"


def range_breach(limits: object) -> str:
    """Two finite numbers, the lower one first."""
    wanted = "give two finite numbers, (lowest, highest)"
    if isinstance(limits, str | bytes) or not isinstance(limits, Sequence) or len(limits) != 2:
        return f"is {shown(limits)}; {wanted}"
    if wrong := [limit for limit in limits if not is_number(limit)]:
        return f"holds {shown(wrong[0])}; {wanted}"
    return "" if limits[0] < limits[1] else f"is {shown(limits)}; the lowest comes first and is smaller than the highest"


def inputs_breach(value: object, rows: int) -> str:
    """float32 [rows, …], every value finite."""
    import torch

    if not isinstance(value, torch.Tensor):
        return f"gave {kind(value)}; it must give a torch.Tensor, float32 [N, …]"
    if value.dtype != torch.float32 or value.dim() < 2 or len(value) != rows:
        return f"gave {text(value)} for {rows} rows; it must give float32 [{rows}, …]"
    broken = (~value.isfinite()).flatten(1).any(1)
    return f"gave a value that is not finite for row {int(broken.nonzero()[0])}" if bool(broken.any()) else ""


def augment_breach(value: object, before: "Tensor") -> str:
    """The shape and type that came in, every value finite."""
    import torch

    if not isinstance(value, torch.Tensor) or value.shape != before.shape or value.dtype != before.dtype:
        return f"gave {text(value)} for {text(before)}; it must keep shape and type"
    return "" if bool(value.isfinite().all()) else "gave values that are not finite"


def loss_breach(value: object, outputs: "Tensor") -> str:
    """A float scalar that training can go back from."""
    import torch
    from torch.utils._pytree import tree_leaves

    if not isinstance(value, torch.Tensor) or value.dim() or not value.is_floating_point():
        return f"gave {text(value)}; it must give one float, a tensor without dimensions (a mean over the batch)"
    parts = tree_leaves(outputs)  # in training a net may give the outputs of auxiliary heads as well
    wanted = torch.is_grad_enabled() and any(isinstance(part, torch.Tensor) and part.requires_grad for part in parts)
    return "gave a tensor without a gradient; compute it from `outputs` with torch alone" if wanted and not value.requires_grad else ""


def metrics_breach(value: object) -> str:
    """Named finite numbers."""
    if not isinstance(value, Mapping) or not value:
        return f"gave {shown(value)}; it must give a dict of named numbers, `accuracy` among them"
    for name, figure in value.items():
        if not isinstance(name, str) or not 0 < len(name) <= LONGEST_NAME:
            return f"gave a figure named {shown(name)}; a name is a text of 1 to {LONGEST_NAME} characters"
        if not is_number(figure):
            return f"gave {shown(figure)} for {name!r}; it must be a finite number"
    return ""


def net_breach(value: object) -> str:
    """A torch module with float32 parameters."""
    import torch
    from torch.nn.parameter import UninitializedParameter

    if not isinstance(value, torch.nn.Module):
        return f"gave {kind(value)}; it must give an instance of torch.nn.Module"
    parameters = dict(value.named_parameters())
    if not parameters:
        return "gave a net without parameters; there is nothing to train or to compress"
    for name, parameter in parameters.items():
        if isinstance(parameter, UninitializedParameter):
            return f"gave a net whose {name!r} has no size yet (a lazy layer); run it once before you return it"
        if parameter.dtype != torch.float32:
            return f"gave a net whose {name!r} is {parameter.dtype}; every parameter must be float32"
    return ""


def picture_breach(value: object) -> str:
    """A short piece of HTML that leaves the page around it as it is."""
    if not isinstance(value, str):
        return f"gave {kind(value)}; it must give a text of HTML"
    if len(value) > LONGEST_PICTURE:
        return f"gave {len(value):,} characters; at most {LONGEST_PICTURE:,} fit on a page that shows many samples"
    reader = _Tags()
    reader.feed(value)
    reader.close()
    return reader.breach or (f"left <{reader.open[-1]}> open; close it, and escape text with html.escape" if reader.open else "")


def is_number(value: object) -> bool:
    """A finite real number, of Python or NumPy; True and False are none."""
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def kind(value: object) -> str:
    """What a value is, in a word."""
    return f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__


def shown(value: object) -> str:
    """A value as it may stand in a message."""
    return found if len(found := repr(value)) <= 80 else f"{found[:80]}…"


def text(value: Any) -> str:
    """A tensor by type and shape, anything else by what it is."""
    shape = getattr(value, "shape", None)
    return kind(value) if shape is None else f"{kind(value)} of {str(value.dtype).removeprefix('torch.')} {list(shape)}"


class _Tags(HTMLParser):
    """Which tags a piece of HTML leaves open, and what it may not hold."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.breach = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an open tag; refuse one that runs code."""
        if tag in RUNNING or any(name.startswith("on") for name, _ in attrs):
            self.breach = self.breach or f"gave a <{tag}> that runs code or loads something; a sample is text, a table or an SVG"
        if tag not in VOID | CLOSE_THEMSELVES:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """`<rect/>` closes itself."""
        self.handle_starttag(tag, attrs)
        if self.open[-1:] == [tag]:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        """Close the last tag; another one than that would close a part of the page."""
        if tag in VOID | CLOSE_THEMSELVES:
            return
        if self.open[-1:] == [tag]:
            self.open.pop()
        else:
            self.breach = self.breach or f"closes <{tag}>, which it did not open last"
