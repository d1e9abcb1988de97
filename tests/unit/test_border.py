"""What a library raises is told as ours, once; what is ours, and what ends a process, passes as it is."""

import errno
import struct
import zlib
from pathlib import Path

import pytest
import torch
import zstandard

from slimline.artifact.border import LONGEST, disk_error, lacks_room, reason_of, told_as, told_of_the_disk
from slimline.artifact.json_file import parse_json, read_json
from slimline.errors import ArtifactError, DiskError, InputError


class TheirOwn(Exception):
    """No builtin's kind."""


TOLD = told_as(lambda reason: ArtifactError(f"file: {reason}"))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ValueError("two\n  lines"), "file: two lines"),
        (KeyError("x"), "file: KeyError 'x'"),
        (IndexError(), "file: IndexError"),
        (TheirOwn("theirs"), "file: theirs"),
        (struct.error("short"), "file: short"),
        (zlib.error("bad"), "file: bad"),
        (zstandard.ZstdError("frame"), "file: frame"),
        (MemoryError(), "file: it takes more than this machine has memory for"),
        (RecursionError("deep"), "file: it is nested too deep"),
        (StopIteration(), "file: StopIteration"),
        (PermissionError(errno.EACCES, "Permission denied", "x"), "file: Permission denied"),
        (AssertionError(), "file: AssertionError"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), "file: 'utf-8' codec"),
        (ValueError("x" * 5000), "file: xxx"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_any_error_is_one_line_of_ours(error: Exception, words: str) -> None:
    with pytest.raises(ArtifactError) as told, TOLD:
        raise error
    text = str(told.value)
    assert text.startswith(words)
    assert "\n" not in text
    assert len(text) < LONGEST + 20
    assert told.value.__cause__ is error


@pytest.mark.parametrize("error", [InputError("ours"), KeyboardInterrupt(), SystemExit(3), GeneratorExit()])
def test_what_is_ours_and_what_ends_a_process_passes(error: BaseException) -> None:
    with pytest.raises(type(error)) as told, TOLD:
        raise error
    assert told.value is error


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_failing_disk_is_nobodys_input(number: int) -> None:
    with pytest.raises(DiskError) as told, TOLD:
        raise OSError(number, "words", "there")
    assert told.value.exit_code == 1
    assert "there" in str(told.value)


def test_what_the_system_refuses_a_process_is_one_line() -> None:
    with pytest.raises(DiskError, match=r"^data/x: Permission denied; mend it"), told_of_the_disk("data"):
        raise PermissionError(errno.EACCES, "Permission denied", "data/x")
    with pytest.raises(SystemExit), told_of_the_disk("data"):
        raise BrokenPipeError
    assert str(disk_error(OSError(errno.ENOSPC, "No space left"), "data")).startswith("disk full while writing data;")
    assert reason_of(OSError("no number")) == "no number"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b'{"a": 1, "b": {"c": 1, "c": 2}}', "key 'c' stands twice"),
        (b"[NaN]", "NaN is no value of JSON"),
        (b"[-Infinity]", "-Infinity is no value"),
        (b'"\xff"', "utf-8"),
        (b"[" * 200_000, "nested too deep"),
        (b"", "Expecting value"),
        (b"\xef\xbb\xbf{}", "BOM|Expecting value"),
        (b"[" + b"9" * 10_000 + b"]", "digits"),
    ],
)
def test_json_that_is_none_is_one_line(data: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(data)
    with pytest.raises(ArtifactError, match=words):
        read_json(tmp_path / "a.json")


def test_json_is_bounded_and_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "long.json").write_bytes(b" " * 101)
    with pytest.raises(ArtifactError, match="holds 101 bytes, at most 100 are read"):
        read_json(tmp_path / "long.json", 100)
    with pytest.raises(ArtifactError, match="no such file"):
        read_json(tmp_path)
    assert parse_json(b'{"a": [1, 2.5, null, "\\u00e4"]}') == {"a": [1, 2.5, None, "ä"]}


def test_want_of_memory_and_disk_is_seen_through_what_it_was_told_as() -> None:
    for error in (
        MemoryError(),
        OSError(errno.ENOSPC, "No space left"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
    ):
        with pytest.raises((ArtifactError, DiskError)) as told, TOLD:
            raise error
        assert lacks_room(told.value)
    with pytest.raises(RuntimeError) as torchs:
        torch.empty(1 << 50, dtype=torch.uint8)
    assert lacks_room(torchs.value)
    assert not any(map(lacks_room, (None, ArtifactError("torn"), OSError(errno.EACCES, "denied"), RuntimeError("sizes differ"))))
