"""Building an AOTInductor package so that the same model gives the same bytes: no paths, no addresses, no clock, no debug information."""

import contextlib
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch._inductor.codegen.cpp_wrapper_cpu import CppWrapperCpu

from slimline.errors import MachineError

COMPILER = """#!/bin/sh
for given in "$@"; do case "$given" in *.cpp) set -- "$@" "-ffile-prefix-map=${given%/*}=.";; esac; done
exec "COMPILER" "$@" -ffile-prefix-map="TORCH"=torch -g0 -s -Wl,--build-id=none
"""
"""Inductor has no setting for more flags: a script that adds them. Paths of this machine are mapped away, symbols are stripped."""
HOLES = (108, 316, 420)
"""Offsets of the 4-byte gaps that C++ leaves in oneDNN's dnnl_memory_desc; Inductor writes what happened to stand there."""
MAX_DIMENSIONS = 64
NAME = "model"
LEFT_OUT = (".cpp", "kernel_metadata.json", "serialization_id")
"""Sources, and an identity that torch makes of the former."""


def build_settings(compiler: Path) -> dict[str, Any]:
    """Inductor's settings: weights frozen, generated loops in one thread, no checks whose text holds addresses."""
    return {
        "freezing": True,
        "size_asserts": False,
        "force_disable_caches": True,
        "cpp.threads": 1,
        "cpp.cxx": (None, str(compiler)),
        "aot_inductor.enable_line_tables": False,
        "aot_inductor.model_name_for_generated_files": NAME,
        "aot_inductor.precompile_headers": False,  # they would be kept below /tmp, for the next compilation to find
    }


@contextlib.contextmanager
def reproducible() -> Iterator[Path]:
    """A new folder that Inductor keeps its files in meanwhile, with a compiler script in it, `g++`.

    Raises:
        MachineError: g++ is not installed.
    """
    compiler = shutil.which(os.environ.get("CXX", "g++"))
    if compiler is None:
        raise MachineError("compile: the target inductor needs a C++ compiler and g++ is not installed; apt-get install g++")
    with tempfile.TemporaryDirectory(prefix="slimline-") as place:
        script = Path(place) / "g++"
        script.write_text(COMPILER.replace("COMPILER", compiler).replace("TORCH", str(Path(torch.__file__).parent)), encoding="utf-8")
        script.chmod(0o700)
        with mock.patch.dict(os.environ, {"TORCHINDUCTOR_CACHE_DIR": place}), _without_holes():
            yield Path(place)


@contextlib.contextmanager
def _without_holes() -> Iterator[None]:
    plain = CppWrapperCpu.codegen_shape_tuple

    def cleaned(wrapper: CppWrapperCpu, values: Sequence[Any]) -> str:
        """C++ for a list: of sizes, which stay as they are, or of a description's bytes, more than a shape has dimensions."""
        if len(values) <= MAX_DIMENSIONS:
            return str(plain(wrapper, values))
        return str(plain(wrapper, [0 if any(hole <= at < hole + 4 for hole in HOLES) else value for at, value in enumerate(values)]))

    with mock.patch.object(CppWrapperCpu, "codegen_shape_tuple", cleaned):
        yield


def write_package(built: Path, package: Path) -> str:
    """Write what loading needs of the package `built`, compressed and in order, to `package`; returns the C++ wrapper's source."""
    with zipfile.ZipFile(built) as source, zipfile.ZipFile(package, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as small:
        names = sorted(source.namelist())
        for name in [name for name in names if not name.endswith(LEFT_OUT)]:
            small.writestr(zipfile.ZipInfo(name), source.read(name), zipfile.ZIP_DEFLATED, 9)
        return source.read(next(name for name in names if name.endswith(".wrapper.cpp"))).decode()


def open_package(package: Path) -> Callable[[list[Tensor]], list[Tensor]]:
    """Load a package's machine code as a function of the inputs in the signature's order, each [N, …].

    torch._inductor.aoti_load_package would first compile a test program with g++, to warn of another CPU.

    Raises:
        RuntimeError: this version of torch cannot load it.
    """
    loader = torch._C._aoti.AOTIModelPackageLoader(str(package), NAME, False, 1, -1)

    def run(inputs: list[Tensor]) -> list[Tensor]:
        found: list[Tensor] = loader.boxed_run(list(inputs))
        return found

    return run
