"""What a run needs is looked at before it begins, and all that is missing is told together."""

from pathlib import Path

import pytest

from slimline.commands.preflight import COPIES, LEAST_BYTES, preflight
from slimline.errors import InputError, MachineError
from slimline.params import PublishParams
from slimline.storage.server import SETTINGS, server_state
from slimline.storage.signing import KEY

NOBODY = PublishParams(endpoint_url="http://127.0.0.1:9")


@pytest.fixture(autouse=True)
def _no_store_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)


def looked_at(tmp_path: Path, publish: PublishParams | None, results_bytes: int = 0, jobs: int = 1) -> None:
    preflight(tmp_path, publish, places=(tmp_path,), results_bytes=results_bytes, jobs=jobs)


def test_all_is_well_and_the_store_is_stopped_again(tmp_path: Path) -> None:
    looked_at(tmp_path, PublishParams())
    assert not server_state(tmp_path, PublishParams()).running


def test_results_that_do_not_fit_the_disk(tmp_path: Path) -> None:
    needed = f"{LEAST_BYTES + COPIES * 10**16:,}"
    with pytest.raises(MachineError, match=rf"disk: [\d,]+ bytes are free below .*, this run writes about {needed}; "):
        looked_at(tmp_path, None, 10**16)


def test_more_stages_at_once_than_there_is_memory_for(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match=r"memory: [\d,]+ bytes are available, 9000000 stages at once take .* or take fewer --jobs"):
        looked_at(tmp_path, None, jobs=9_000_000)


@pytest.fixture
def _with_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "word")


@pytest.mark.usefixtures("_with_a_key")
def test_a_store_that_does_not_answer_is_told_before_anything_ran(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match=r"127\.0\.0\.1:9.*nothing was run: slimline run --no-publish publishes nothing"):
        looked_at(tmp_path, NOBODY)
    looked_at(tmp_path, None)


def test_a_signing_key_that_is_none_is_told_before_anything_ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY, str(tmp_path / "key.pem"))
    with pytest.raises(InputError, match=r"SLIMLINE_SIGNING_KEY: .*key\.pem: no such file.*nothing was run"):
        looked_at(tmp_path, PublishParams())
    looked_at(tmp_path, None)


@pytest.mark.usefixtures("_with_a_key")
def test_all_of_it_is_told_together(tmp_path: Path) -> None:
    with pytest.raises(MachineError) as told:
        looked_at(tmp_path, NOBODY, 10**16, 9_000_000)
    lines = str(told.value).splitlines()
    assert [line.split(":")[0] for line in lines][:2] == ["disk", "memory"]
    assert len(lines) == 3
    with pytest.raises(InputError, match="disk: "):
        looked_at(tmp_path, PublishParams(endpoint_url="http://user:word@127.0.0.1:9"), 10**16)
