"""Where a training computes: the CPU as torch does by itself, or, by accelerate, a GPU, and either under bfloat16 autocast.

On the CPU in float32 nothing is changed and accelerate is not imported. Elsewhere kernels round otherwise, and some add in no fixed
order, so that bytes differ; `computed_on` is what a manifest says of it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain

import torch
from torch import nn

from slimline.errors import ParamsError
from slimline.params import Training
from slimline.params.section import Device, Precision, Section

CPU = torch.device("cpu")
AUTOCAST: dict[Precision, str] = {"float32": "no", "bfloat16": "bf16"}
"""As accelerate calls them."""


def device_of(asked: Device) -> torch.device:
    """The device that is meant; `auto` is the GPU where torch finds one.

    Raises:
        ParamsError: cuda is asked for and there is none.
    """
    if asked == "cpu" or (asked == "auto" and why_no_gpu()):
        return CPU
    if reason := why_no_gpu():
        raise ParamsError([f"params.yaml: device: cuda: {reason}; give auto or cpu"])
    return torch.device("cuda", torch.cuda.current_device())


def why_no_gpu() -> str:
    """Why torch has none; empty where it has one."""
    if torch.cuda.is_available():
        return ""
    return "torch finds no GPU here" if torch.version.cuda else f"torch {torch.__version__} is built without CUDA"


def described(device: torch.device, precision: Precision = "float32") -> str:
    """A place in words; empty for the CPU in float32."""
    if device == CPU:
        return "" if precision == "float32" else f"cpu, {precision}"
    return f"{torch.cuda.get_device_name(device)} (cuda), {precision}"


def computed_on(config: Section) -> str | None:
    """Where a config, or what stands in it, trains, and in which precision; None where that is the CPU in float32."""
    trainings = [part for part in (config, *dict(config).values()) if isinstance(part, Training) and part.epochs]
    return "; ".join(sorted({described(device_of(one.device), one.precision) for one in trainings} - {""})) or None


@contextmanager
def placed(model: nn.Module, config: Training) -> Iterator[torch.device]:
    """The device of a training, the model moved there and run under its autocast; afterwards it is on the CPU, called as ever.

    Raises:
        ParamsError: cuda is asked for and there is none.
    """
    device = device_of(config.device)
    if not described(device, config.precision):
        yield device
        return
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    own = {name: model.__dict__[name] for name in ("forward",) if name in model.__dict__}
    accelerator = Accelerator(cpu=device == CPU, mixed_precision=AUTOCAST[config.precision])
    try:
        with any_kernel(device):
            accelerator.prepare_model(model)
            yield device
    finally:
        for name in ("forward", "_original_forward"):  # as it was: unwrap_model imports torch's compiler, seconds of it
            model.__dict__.pop(name, None)
        model.__dict__.update(own)
        model.to(CPU)
        AcceleratorState._reset_state(reset_partial_state=True)  # else the next training of the process may not differ


@contextmanager
def any_kernel(device: torch.device) -> Iterator[None]:
    """On a GPU, kernels that add in no fixed order are let in: for some layers there are no others."""
    mode = torch.get_deterministic_debug_mode()
    if device != CPU:
        torch.set_deterministic_debug_mode("default")
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(mode)


@contextmanager
def cpu_threads(count: int) -> Iterator[None]:
    """So many CPU threads inside."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def device_under(model: nn.Module) -> torch.device:
    """Where a model's first tensor is; the CPU of one without any."""
    first = next(chain(model.parameters(), model.buffers()), None)
    return CPU if first is None else first.device
