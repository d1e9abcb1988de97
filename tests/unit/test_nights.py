"""The memory of nights: what is a change beyond the noise, what it is put down to, and the page."""

import re
from pathlib import Path
from typing import Any

import pytest

from slimline.errors import ArtifactError
from slimline.nights.night import Figure, Night, Row, night_of, parse_night
from slimline.nights.trend import SAME_FILES, UNEXPLAINED, beyond_noise, changes, verdicts
from slimline.report.nights import nights_page
from slimline.report.page import write_page
from slimline.report.trends import trend_figure

LIBRARIES = {"torch": "2.13.0", "onnxruntime": "1.31.1"}
MADE_OF = {"code": "a" * 40, "data": "d1.dir", "parameters": "p" * 64, "machine": "a CPU"}


def figure(value: float, half: float | None = None, better: str = "higher") -> Figure:
    return Figure(value=value, ci=None if half is None else (value - half, value + half), better=better)  # type: ignore[arg-type]


def night(day: int, figures: dict[str, Figure], verdict: str = "accept", **differs: Any) -> Night:
    libraries, release = differs.pop("libraries", LIBRARIES), differs.pop("release", "")
    row = Row(variant="int8", target="openvino", verdict=verdict, figures=figures, release=release)
    at = f"2026-11-{day:02}T02:00:00+00:00"
    return Night(at=at, workload="digits", seconds=60.0, fingerprints=MADE_OF | differs, libraries=libraries, rows=(row,))


@pytest.mark.parametrize(
    ("name", "before", "after", "moved"),
    [
        ("accuracy", figure(0.98, 0.01), figure(0.97, 0.01), False),  # 0.010 apart, 0.0141 is noise
        ("accuracy", figure(0.98, 0.01), figure(0.96, 0.01), True),
        ("accuracy", figure(0.98, 0.0), figure(0.9799, 0.0), True),
        ("speed_ratio batch_1", figure(10.0, 3.0), figure(14.0, 3.0), False),
        ("speed_ratio batch_1", figure(10.0, 3.0), figure(14.5, 3.0), True),
        ("size_bytes", figure(1_000_000, better="lower"), figure(1_000_900, better="lower"), False),
        ("size_bytes", figure(1_000_000, better="lower"), figure(1_002_000, better="lower"), True),
        ("peak_memory_bytes", figure(1e8, better="lower"), figure(1.04e8, better="lower"), False),
        ("peak_memory_bytes", figure(1e8, better="lower"), figure(1.06e8, better="lower"), True),
    ],
)
def test_what_lies_beyond_the_noise(name: str, before: Figure, after: Figure, moved: bool) -> None:
    assert beyond_noise(name, before, after) is moved


def test_a_change_is_put_down_to_what_differs_and_to_nothing_else() -> None:
    first = night(1, {"accuracy": figure(0.98, 0.002), "size_bytes": figure(100, better="lower")})
    libraries = LIBRARIES | {"onnxruntime": "1.32.0"}
    second = night(2, {"accuracy": figure(0.95, 0.002), "size_bytes": figure(90, better="lower")}, code="b" * 40, libraries=libraries)
    worse, better = changes([first, second])
    assert (worse.figure, worse.worse, better.figure, better.worse) == ("accuracy", True, "size_bytes", False)
    assert worse.causes == ("code differs (aaaaaaaaaaaa to bbbbbbbbbbbb)", "library onnxruntime differs (1.31.1 to 1.32.0)")
    assert worse.sentence.startswith("int8-openvino: worse: accuracy 0.98 to 0.95; code differs")


@pytest.mark.parametrize(
    ("differs", "way"),
    [
        ({"release": "r1", "code": "b" * 40}, "moved"),
        ({"release": "r2"}, "worse"),
        ({"release": ""}, "worse"),
        ({"release": "r1", "machine": "another CPU"}, "worse"),
        ({"release": "r1", "libraries": LIBRARIES | {"onnxruntime": "1.32.0"}}, "worse"),
    ],
)
def test_a_clock_over_the_same_files_is_no_regression(differs: dict[str, Any], way: str) -> None:
    before = night(1, {"speed_ratio batch_1": figure(60.8, 6.2), "accuracy": figure(0.99, 0.001)}, release="r1")
    after = night(2, {"speed_ratio batch_1": figure(52.1, 1.8), "accuracy": figure(0.98, 0.001)}, **differs)
    speed, accuracy = changes([before, after])
    assert (speed.way, accuracy.way) == (way, "worse")
    assert (SAME_FILES in speed.sentence) is (way == "moved")
    assert SAME_FILES not in accuracy.sentence


@pytest.mark.parametrize(
    ("codes", "cause"),
    [
        (("a" * 40, "a" * 40), UNEXPLAINED),
        (("a" * 40 + "+0123456789abcdef",) * 2, UNEXPLAINED),
        (
            ("a" * 40 + "+0123456789abcdef", "a" * 40 + "+fedcba9876543210"),
            "code differs (aaaaaaaaaaaa+01234567 to aaaaaaaaaaaa+fedcba98)",
        ),
        (("a" * 40 + "+",) * 2, "code may differ (aaaaaaaaaaaa+ both times, which does not say what was changed)"),
        (("unknown",) * 2, "code may differ (unknown both times, which does not say what was changed)"),
    ],
)
def test_code_that_cannot_be_known_to_be_equal_is_told(codes: tuple[str, str], cause: str) -> None:
    nights = [night(day, {"accuracy": figure(0.98 - day / 10, 0.002)}, code=code) for day, code in enumerate(codes, 1)]
    [change] = changes(nights)
    assert change.sentence.endswith(f"; {cause}")


def test_a_night_that_came_to_the_same_repeats_it_whenever_it_was() -> None:
    first = night(1, {"accuracy": figure(0.98, 0.002)})
    assert night(2, {"accuracy": figure(0.98, 0.002)}).repeats(first)
    assert not night(2, {"accuracy": figure(0.981, 0.002)}).repeats(first)
    assert not night(2, {"accuracy": figure(0.98, 0.002)}, code="b" * 40).repeats(first)


def test_the_code_of_a_night_holds_what_was_not_committed(tmp_path: Path) -> None:
    machine = {"cpu": "a CPU", "cores": 2, "isa": ["AVX2"], "versions": {}}
    run = {"git": "a" * 40, "params_sha256": "p", "started": "2026-11-22T00:00:00+00:00", "seconds": 1.0, "machine": machine}
    (tmp_path / "params.yaml").write_text("seed: 0\n")
    told = [{"git_dirty": False}, {"git_dirty": True}, {"git_dirty": True, "git_changes": "0123456789abcdef"}]
    codes = [night_of({"workload": "digits", "variants": [], "run": run | one}, tmp_path).fingerprints["code"] for one in told]
    assert codes == ["a" * 40, "a" * 40 + "+", "a" * 40 + "+0123456789abcdef"]


def test_a_night_is_held_against_the_last_that_judged_the_same() -> None:
    without = night(2, {}).model_copy(update={"rows": ()})
    (change,) = changes([night(1, {"accuracy": figure(0.9, 0.001)}), without, night(3, {"accuracy": figure(0.8, 0.001)})])
    assert (change.earlier[:10], change.later[:10]) == ("2026-11-01", "2026-11-03")
    assert change.sentence.endswith(UNEXPLAINED)
    assert list(changes([night(1, {"accuracy": figure(0.9, 0.001)})])) == []


def test_a_drift_in_steps_that_are_each_within_the_noise_is_found_once_and_from_its_beginning() -> None:
    nights = [night(day, {"accuracy": figure(0.98 - 0.002 * day, 0.003)}, code=f"{day:040}") for day in range(1, 8)]
    found = list(changes(nights))
    assert [(one.earlier, one.later) for one in found] == [
        (nights[0].identity, nights[3].identity),
        (nights[3].identity, nights[6].identity),
    ]
    assert all(one.slowly and one.worse for one in found)
    assert f"little by little since {nights[0].identity}; code differs" in found[0].sentence
    steady = [night(day, {"accuracy": figure(0.98 + 0.001 * (day % 2), 0.003)}) for day in range(1, 20)]
    assert list(changes(steady)) == []


def test_a_figure_that_jumped_is_held_against_where_it_stands_now() -> None:
    values = (0.98, 0.96, 0.9605, 0.96)
    nights = [night(day, {"accuracy": figure(value, 0.003)}) for day, value in enumerate(values, start=1)]
    [jump] = changes(nights)
    assert (jump.later, jump.slowly) == (nights[1].identity, False)


def test_a_verdict_that_changed_is_told() -> None:
    (one,) = verdicts([night(1, {}), night(2, {}, "reject", data="d2.dir"), night(3, {}, "reject", data="d2.dir")])
    assert one.sentence == "int8-openvino: accept before, reject now; data differs (d1.dir to d2.dir)"


def test_a_stored_night_comes_back_and_what_is_none_does_not() -> None:
    one = night(1, {"accuracy": figure(0.98, 0.002)})
    assert parse_night(one.as_json()) == one
    assert b"release" not in one.as_json(), "an old night has no releases, and keeps its name"
    released = night(1, {"accuracy": figure(0.98, 0.002)}, release="r1")
    assert parse_night(released.as_json()) == released
    assert one.identity.startswith("2026-11-01T020000-")
    assert one.identity != night(1, {"accuracy": figure(0.981, 0.002)}).identity
    assert parse_night(b"{}") is parse_night(b"\xff") is None


def test_a_summary_that_is_none_of_a_run_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="lacks 'run'; make it again"):
        night_of({"variants": []}, tmp_path)


def test_the_page_shows_runs_changes_and_trends(project: Path, tmp_path: Path) -> None:
    nights = [night(day, {"accuracy": figure(0.98 - 0.01 * day, 0.001)}, "accept" if day < 3 else "reject") for day in (1, 2, 3)]
    write_page(nights_page(nights), tmp_path / "nights", templates=project / "reports/templates")
    text, page = ((tmp_path / f"nights.{ending}").read_text() for ending in ("md", "html"))
    assert "2 figures changed beyond the noise, 2 of them for the worse; 1 verdicts changed" in page
    assert "int8\\-openvino" in text or "int8-openvino" in text
    assert "<svg" in page
    assert "accuracy on openvino" in page
    drawn = trend_figure({"int8": [(day, figure(0.98 - 0.01 * day, 0.001)) for day in (1, 2, 3)], "half": [(2, figure(0.9))]}, y_label="a")
    assert drawn.count("<circle") == 4
    assert len(re.findall(r'<line [^>]*stroke-width="1.2"', drawn)) == 3, "an interval at each point that has one"
    assert trend_figure({}, y_label="accuracy").count("no accuracy")
