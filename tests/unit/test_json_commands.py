"""Every command can be read by a machine: what it prints with --json is one JSON value."""

import json
from pathlib import Path

import pytest
from typer.main import get_command

from slimline.cli import app
from slimline.commands.report import report
from slimline.errors import InputError


def test_every_command_has_json() -> None:
    commands = get_command(app).commands  # type: ignore[attr-defined]
    lacking = {name for name, command in commands.items() if not any("--json" in option.opts for option in command.params)}
    assert len(commands) > 20
    assert lacking == set()


def test_report_says_where_its_page_and_its_figures_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "reports").mkdir()
    for name in ("params.yaml", "dvc.yaml"):
        (tmp_path / name).write_text("{}\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="not there yet"):
        report(as_json=True)
    (tmp_path / "reports/index.html").write_text("")
    report(as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert told == {name: str(tmp_path / "reports" / file) for name, file in (("report", "index.html"), ("summary", "summary.json"))}
