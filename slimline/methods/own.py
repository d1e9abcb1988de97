"""A method of one's own as the stages call it: what it raises is told as theirs, and what it gives is looked at."""

import functools
import importlib
from collections.abc import Callable
from typing import Any

from slimline.errors import MethodError
from slimline.params.own import own_code

GIVES = {
    "prune": "slimline.methods.edited:Edited",
    "factorize": "slimline.methods.edited:Edited",
    "distill": "slimline.methods.edited:Edited",
    "quantize": "slimline.methods.quantize.quantized:Quantized",
}
"""Stage -> the class of what a method of it gives back."""


def held(name: str, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, held to what the stage expects of it.

    Raises (when called):
        MethodError: it raised, or gave back something else; errors of ours, such as StageError, pass as they are.
    """

    @functools.wraps(function)
    def called(*arguments: Any, **named: Any) -> Any:
        with own_code(name, function.__name__):
            made = function(*arguments, **named)
        module, _, kind = GIVES[stage].partition(":")
        if not isinstance(made, getattr(importlib.import_module(module), kind)):
            raise MethodError(f"method {name!r}: {function.__name__} gave back {type(made).__name__}; for {stage} give {kind}({module})")
        return made

    return called
