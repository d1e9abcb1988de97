"""What a run notes at its end, by which the next one knows that it has nothing to do; tests/pipeline has the whole of it."""

from pathlib import Path

import pytest

from flows.results import Outcome
from flows.unchanged import FILES, NOTE, note_finished, stood_on, unchanged

ALL_WELL = Outcome(reports=Path("reports"), seconds=1.0, states={"report": "Cached"}, releases={})


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    (tmp_path / "reports").mkdir()
    (tmp_path / ".slimline").mkdir()
    for name in FILES:
        (tmp_path / name).write_text("{}")
    return tmp_path


@pytest.mark.parametrize("name", FILES)
def test_another_file_is_another_state(project: Path, name: str) -> None:
    before = stood_on(project)
    (project / name).write_text("{1: 2}")
    assert stood_on(project) != before
    (project / name).unlink()
    assert stood_on(project) != before


def test_another_store_is_another_state(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = stood_on(project)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    assert stood_on(project) != before


def test_a_run_that_failed_takes_the_note_back(project: Path) -> None:
    note_finished(project, ALL_WELL)
    assert (project / NOTE).is_file()
    note_finished(project, Outcome(reports=Path("reports"), seconds=1.0, states={"report": "Failed"}, failures={"report": 1}))
    assert not (project / NOTE).exists()


def test_a_run_that_published_nothing_notes_nothing(project: Path) -> None:
    note_finished(project, Outcome(reports=Path("reports"), seconds=1.0, states={"report": "Cached"}))
    assert not (project / NOTE).exists()


@pytest.mark.parametrize("note", [None, "", "[1]", "{}", "\x00"])
def test_without_a_whole_note_the_flow_looks(project: Path, note: str | None) -> None:
    if note is not None:
        (project / NOTE).write_text(note)
    assert unchanged(project) is None


def test_where_prefect_is_to_see_the_run_the_flow_runs(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    note_finished(project, ALL_WELL)
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    assert unchanged(project) is None
