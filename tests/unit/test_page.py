"""Stage pages: figures are computed, hostile names stay text, nothing is fetched, and a missing value is an error."""

import re
from pathlib import Path

import pytest
from markupsafe import Markup

from slimline.errors import InputError
from slimline.report.numbers import change, milliseconds, number, points, ratio, size, times
from slimline.report.page import Figure, Row, StagePage, Table, write_page
from slimline.report.render import render

HOSTILE = "<script>alert('x')</script>|**b**"
OUTSIDE = re.compile(r"""(?:src|href|action|data)\s*=\s*["']?\s*(?:https?:)?//|@import|<script|<link[^>]+stylesheet|url\(""", re.IGNORECASE)


def example(**changes: object) -> StagePage:
    fields = {
        "stage": "prune",
        "variant": "channels50",
        "title": "Channels pruned by half",
        "summary": ("It shrank.",),
        "comparison": (
            Row("accuracy", 0.9875, 0.9822, "fraction", "higher"),
            Row("size", 5_996_140, 1_511_122, "bytes", "lower"),
            Row("latency", 1.25, 2.5, "ms", "lower"),
            Row("layers", None, 3),
        ),
        "tables": (Table("Layers", ("layer", "channels", "share"), (("stem", 64, 0.5), ("head", 32, None))),),
        "figures": (Figure("Sensitivity", "<svg viewBox='0 0 1 1'></svg>"),),
        "notes": ("A note.",),
    }
    return StagePage(**(fields | changes))


def written(page: StagePage, folder: Path, project: Path) -> tuple[str, str]:
    write_page(page, folder / "page", templates=project / "reports/templates")
    return (folder / "page.md").read_text(encoding="utf-8"), (folder / "page.html").read_text(encoding="utf-8")


def test_differences_and_ratios_are_computed_from_the_two_figures(tmp_path: Path, project: Path) -> None:
    markdown, html = written(example(), tmp_path, project)
    for text in (markdown, html):
        assert "−0.53 pp" in text
        assert "−4.49 MB" in text
        assert "3.97×" in text
        assert "0.50×" in text
    assert "| layers | – | 3 | – | – |" in markdown


def test_better_and_worse_are_said_in_words_not_by_colour_alone(tmp_path: Path, project: Path) -> None:
    _, html = written(example(), tmp_path, project)
    assert re.search(r'class="n better">−4\.49 MB<span class="word"> better', html)
    assert re.search(r'class="n worse">\+1\.25 ms<span class="word"> worse', html)


def test_columns_of_numbers_are_aligned_right(tmp_path: Path, project: Path) -> None:
    markdown, html = written(example(), tmp_path, project)
    assert "|:--|--:|--:|" in markdown.replace(" ", "")
    assert '<td class="n">0.5000</td>' in html
    assert Table("t", ("a", "b", "c"), (("98.2 %", "4.0× [3.9, 4.1×]", "12 layers"), ("–", "−3 pp", "x"))).numeric == (True, True, False)


def test_hostile_names_are_shown_and_not_obeyed(tmp_path: Path, project: Path) -> None:
    page = example(
        variant=HOSTILE, title=HOSTILE, summary=(HOSTILE,), notes=(HOSTILE,), tables=(Table(HOSTILE, (HOSTILE,), ((HOSTILE,),)),)
    )
    markdown, html = written(page, tmp_path, project)
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert "<script" not in markdown.replace("\\<script", "")
    assert "\\|\\*\\*b\\*\\*" in markdown


def test_markup_cells_are_html_in_html_and_a_hint_in_markdown(tmp_path: Path, project: Path) -> None:
    cell = Markup('<svg class="sample"></svg>')
    markdown, html = written(example(tables=(Table("Lost", ("picture",), ((cell,),)),)), tmp_path, project)
    assert '<svg class="sample"></svg>' in html
    assert "(see the HTML page)" in markdown


def test_html_is_whole_and_fetches_nothing(tmp_path: Path, project: Path) -> None:
    _, html = written(example(), tmp_path, project)
    assert html.startswith("<!doctype html>")
    assert not OUTSIDE.search(html)
    assert "default-src 'none'" in html
    assert "prefers-color-scheme: dark" in html


def test_same_page_same_bytes(tmp_path: Path, project: Path) -> None:
    assert written(example(), tmp_path / "a", project) == written(example(), tmp_path / "b", project)


def test_an_unknown_value_in_a_template_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "bad.md.j2").write_text("{{ page.nothing }}", encoding="utf-8")
    with pytest.raises(InputError, match=r"bad\.md\.j2: UndefinedError: .*nothing"):
        render("bad.md.j2", {"page": example()}, tmp_path)


def test_missing_templates_name_the_folder(in_folder: Path) -> None:
    with pytest.raises(InputError, match=r"reports/templates/stage\.md\.j2: TemplateNotFound.*project folder"):
        write_page(example(), in_folder / "page")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (number(1_497_290), "1,497,290"),
        (number(0.98765), "0.9877"),
        (number(0.0000123), "1.23e-05"),
        (number(None), "–"),
        (number(True), "yes"),
        (number(9.996), "10.00"),
        (size(999), "999 B"),
        (size(999_999), "1.00 MB"),
        (size(46_000), "46.0 kB"),
        (points(-0.0123), "−1.23 pp"),
        (points(-0.0000001), "0.00 pp"),
        (ratio(130.35), "130×"),
        (ratio(9.996), "10.0×"),
        (milliseconds(0.1234), "0.123 ms"),
        (change(3, 3), "same"),
        (change(3, 5, "layers"), "+2 layers"),
        (times(2.0, 0, "lower"), "–"),
        (times(2.0, 6.0, "higher"), "3.00×"),
    ],
)
def test_numbers_are_written_one_way(text: str, expected: str) -> None:
    assert text == expected
