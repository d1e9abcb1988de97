"""What Inductor generated: kernels that it called, kernels that it fused, and the constants that it froze, read from its C++."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from slimline.methods.compile.qdq import SCALE

FIELD = re.compile(r'constants_info_\[(\d+)\]\.(name|dtype|data_size|original_fqn) = "?([^";]+)"?;')
EXTERN = re.compile(r"AOTI_TORCH_ERROR_CODE_CHECK\(aoti_torch_cpu_(\w+)\(([^;]*)")
FUSED = re.compile(r"^\s+(cpp_fused\w*?)_\d+\(\(", re.MULTILINE)
INT8_KERNELS = ("qconv", "qlinear")


@dataclass(frozen=True)
class Constant:
    """A frozen tensor: where it came from (a parameter's name, or one of Inductor's own), its type and its bytes in the package."""

    origin: str
    dtype: str
    size_bytes: int


@dataclass(frozen=True)
class Generated:
    """`operations` counts the calls of one forward pass, `named_int8` are layers whose scales an int8 kernel of oneDNN reads.

    `unnamed_int8` counts the kernels that read scales without a name: Inductor writes those of a few outputs into the code.
    """

    operations: dict[str, int]
    constants: tuple[Constant, ...]
    named_int8: frozenset[str]
    unnamed_int8: int = 0

    def int8_layers(self, planned: Iterable[str]) -> frozenset[str]:
        """Which of the planned layers int8 kernels compute."""
        named = {constant.origin for constant in self.constants}
        nameless = {name for name in planned if name not in self.named_int8 and f"{name}.{SCALE}" not in named}
        return frozenset(self.named_int8 | (nameless if len(nameless) <= self.unnamed_int8 else set()))

    @property
    def weight_bytes(self) -> int:
        """What all constants take."""
        return sum(constant.size_bytes for constant in self.constants)


def read_generated(source: str) -> Generated:
    """Read the C++ wrapper of a package."""
    fields: dict[str, dict[str, str]] = {}
    for number, key, value in FIELD.findall(source):
        fields.setdefault(number, {})[key] = value.strip()
    origins = {found["name"]: found.get("original_fqn", found["name"]) for found in fields.values()}
    calls = EXTERN.findall(source)
    constants = tuple(
        Constant(origins[found["name"]], found["dtype"].removeprefix("cached_torch_dtype_"), int(found["data_size"]))
        for found in fields.values()
    )
    operations = Counter(name.lstrip("_") for name, _ in calls) + Counter(FUSED.findall(source))
    owners = [_scale_owner(arguments, origins) for name, arguments in calls if name.lstrip("_").startswith(INT8_KERNELS)]
    return Generated(dict(sorted(operations.items())), constants, frozenset(filter(None, owners)), owners.count(None))


def stored_layers(constants: tuple[Constant, ...], layers: Mapping[str, tuple[str, tuple[int, ...]]]) -> tuple[str, ...]:
    """The layers, of name -> (type, number of values of each weight), that have a constant of their type for each of their weights.

    Frozen weights are packed for the kernel and have lost their names, so each, largest first, takes the smallest constant that fits.
    """
    left = sorted((constant.size_bytes, constant.dtype) for constant in constants)
    weights = sorted(((count * _BYTES[dtype], dtype, name) for name, (dtype, counts) in layers.items() for count in counts), reverse=True)
    missed = set()
    for least, dtype, name in weights:
        if (fitting := next((one for one in left if one[1] == dtype and one[0] >= least), None)) is None:
            missed.add(name)
        else:
            left.remove(fitting)
    return tuple(name for name in layers if name not in missed)


_BYTES = {"int8": 1, "float16": 2, "bfloat16": 2}


def _scale_owner(arguments: str, origins: Mapping[str, str]) -> str | None:
    """The layer whose scales a kernel is given."""
    read = [origins[word] for word in re.findall(r"\w+", arguments) if word in origins]
    return next((origin.removesuffix(f".{SCALE}") for origin in read if origin.endswith(f".{SCALE}")), None)
