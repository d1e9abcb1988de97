"""Lists on the console: what is copied into other commands is whole at any width."""

import io

from rich.console import Console

from slimline.report.listing import PIPE_COLUMNS, listing, minute, two_lines, wide_console

RELEASE, VARIANT = "0f9b1cd064a7b34a4b80", "channels50-recovered-int8-per-channel"


def test_an_identity_is_never_cut_and_the_rest_folds() -> None:
    table = listing("release", "variant", "released (UTC)")
    table.add_row(two_lines(RELEASE, "latest"), two_lines(VARIANT, "onnxruntime"), minute("2026-11-28T08:33:33+00:00"))
    for columns in (30, 60, 80):
        stream = io.StringIO()
        Console(file=stream, width=columns).print(table)
        shown = stream.getvalue()
        assert any(line.startswith(RELEASE) for line in shown.splitlines())
        assert "…" not in shown
    assert "2026-11-28 08:33" in shown


def test_a_pipe_is_wide_enough() -> None:
    assert wide_console().width >= PIPE_COLUMNS
