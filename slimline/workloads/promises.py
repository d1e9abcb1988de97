"""What the members of a workload promise: each function gives the way in which a value breaks its promise, or an empty text.

Nothing here imports torch before it is called: `slimline.workloads` is imported by commands that need none.
"""

import math
from collections.abc import Mapping
from html.parser import HTMLParser
from numbers import Real
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

LONGEST_NAME = 64
DTYPES = frozenset({f"torch.{name}" for name in ("float32", "float64", "float16", "int64", "int32", "int16", "int8", "uint8", "bool")})
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


def objective_breach(objective: object) -> str:
    """All that is asked of an objective is there."""
    members = ("name", "metrics", "loss", "guidance", "scores", "answers", "shown", "distance")
    if isinstance(objective, type):
        return f"is the class {objective.__name__}; give an instance of it"
    if lacking := [member for member in members if getattr(objective, member, None) is None]:
        return f"is {kind(objective)}, which lacks {', '.join(lacking)}; take one of slimline.objectives, or see docs/add-a-workload.md"
    metrics = getattr(objective, "metrics", None)
    if not isinstance(metrics, Mapping) or not metrics:
        return f"has {shown(metrics)} as metrics; give a mapping of name -> slimline.objectives.Metric"
    return ""


def inputs_breach(value: object, rows: int) -> str:
    """A tensor [rows, …], or several by name, every value finite."""
    return _tensors_breach(value, rows, "the model's inputs")


def targets_breach(value: object, rows: int) -> str:
    """A tensor [rows, …], or several by name, every value finite."""
    return _tensors_breach(value, rows, "what the model should give")


def _tensors_breach(value: object, rows: int, what: str) -> str:
    import torch

    if isinstance(value, Mapping) and not value:
        return f"gave no tensor; it must give {what}"
    for name, one in value.items() if isinstance(value, Mapping) else [("", value)]:
        where = f" for {name!r}" if name else ""
        if not isinstance(name, str) or not isinstance(one, torch.Tensor):
            return f"gave {kind(one)}{where}; it must give {what}: a torch.Tensor [N, …], or a dict of them by name"
        if one.dim() < 1 or len(one) != rows:
            return f"gave {text(one)}{where} for {rows} rows; it must give [{rows}, …]"
        if str(one.dtype) not in DTYPES:
            return f"gave {text(one)}{where}; allowed types: {', '.join(sorted(DTYPES)).replace('torch.', '')}"
        if one.is_floating_point() and not bool((finite := one.reshape(rows, -1).isfinite().all(1)).all()):
            return f"gave a value that is not finite{where} for row {int((~finite).nonzero()[0])}"
    return ""


def augment_breach(value: object, before: "Mapping[str, Tensor]") -> str:
    """The names, shapes and types that came in, every value finite."""
    import torch

    if not isinstance(value, Mapping) or value.keys() != before.keys():
        return f"gave {', '.join(map(str, value)) if isinstance(value, Mapping) else kind(value)}; it must give {', '.join(before)}"
    for name, old in before.items():
        new = value[name]
        if not isinstance(new, torch.Tensor) or new.shape != old.shape or new.dtype != old.dtype:
            return f"gave {text(new)} for {text(old)}; it must keep shape and type"
        if new.is_floating_point() and not bool(new.isfinite().all()):
            return "gave values that are not finite"
    return ""


def loss_breach(value: object, outputs: object) -> str:
    """A float scalar that training can go back from."""
    import torch
    from torch.utils._pytree import tree_leaves

    if not isinstance(value, torch.Tensor) or value.dim() or not value.is_floating_point():
        return f"gave {text(value)}; it must give one float, a tensor without dimensions (a mean over the batch)"
    parts = tree_leaves(outputs)
    wanted = torch.is_grad_enabled() and any(isinstance(part, torch.Tensor) and part.requires_grad for part in parts)
    return "gave a tensor without a gradient; compute it from `outputs` with torch alone" if wanted and not value.requires_grad else ""


def net_breach(value: object) -> str:
    """A torch module with float32 parameters, whose forward is Python."""
    import torch
    from torch.nn.parameter import UninitializedParameter

    if not isinstance(value, torch.nn.Module):
        return f"gave {kind(value)}; it must give an instance of torch.nn.Module"
    if breach := _wrapped_breach(value):
        return breach
    parameters = dict(value.named_parameters())
    if not parameters:
        return "gave a net without parameters; there is nothing to train or to compress"
    for name, parameter in parameters.items():
        if isinstance(parameter, UninitializedParameter):
            return f"gave a net whose {name!r} has no size yet (a lazy layer); run it once before you return it"
        if parameter.is_meta:
            return f"gave a net whose {name!r} is on the device meta, without values; build it on the CPU"
        if parameter.dtype != torch.float32:
            return f"gave a net whose {name!r} is {parameter.dtype}; every parameter must be float32: return net.float()"
    return ""


def _wrapped_breach(net: Any) -> str:
    """What stands for a net, and cannot be trained, copied or taken apart as one."""
    import torch

    if "_orig_mod" in dict(net.named_children()):  # OptimizedModule, whose import takes seconds
        return "gave a net under torch.compile; return the net itself, the line compiles what it deploys"
    if any(isinstance(one, torch.jit.ScriptModule) for one in net.modules()):
        return "gave a TorchScript module, which no method can take apart; return the torch.nn.Module that it was made of"
    if isinstance(net, torch.fx.GraphModule) and "eval" in vars(net):  # torch.export leaves its graph in one mode
        return "gave the module of a torch.export program, which cannot be trained; return the torch.nn.Module that it was made of"
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
