"""The report's pages in a real browser: light, dark and as wide as a phone, with nothing fetched and nothing spilling over."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from slimline.report.decision import write_decision
from slimline.report.figures import bar_figure, histogram_figure, line_figure
from slimline.report.page import Figure, Row, StagePage, Table, write_page
from slimline.workloads import get_workload
from tasks.report import deployed, page, read_changed, read_judged, read_predictions, run
from tests.measured_line import write_line

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
CHROMIUM = shutil.which("chromium")
ARGUMENTS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
PHONE, DESKTOP = {"width": 390, "height": 844}, {"width": 1280, "height": 900}

CONTRASTS = """() => {
  const linear = part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  const light = colour => colour.match(/[\\d.]+/g).slice(0, 3).map(part => linear(part / 255))
    .reduce((sum, part, index) => sum + part * [0.2126, 0.7152, 0.0722][index], 0);
  const ground = node => {
    for (; node; node = node.parentElement) {
      const found = getComputedStyle(node).backgroundColor;
      if (!/rgba\\(.*, 0\\)/.test(found)) return found;
    }
    return 'rgb(255, 255, 255)';
  };
  return [...document.querySelectorAll('.badge, .ci, .note, .faint, .soft, .wrong, th, td, a, dt, footer')].map(node => {
    const [dark, bright] = [light(getComputedStyle(node).color), light(ground(node))].sort((a, b) => a - b);
    const contrast = (bright + 0.05) / (dark + 0.05);
    return contrast < 4.5 ? `${contrast.toFixed(2)} ${node.className}: ${node.textContent.slice(0, 30)}` : '';
  });
}"""

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="Debian's chromium is missing: apt-get install chromium")]


@pytest.fixture(scope="module")
def browser() -> Iterator:
    """Headless Chromium."""
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory, project: Path) -> Path:
    """The pages of a measured line."""
    root, templates = tmp_path_factory.mktemp("line"), project / "reports/templates"
    params = write_line(root, (project / "params.yaml").read_text(encoding="utf-8"))
    evaluations = tuple(read_judged(deployed(params), params.gate, root / "reports/metrics"))
    predictions = read_predictions(deployed(params), root / "data/evaluated")
    facts = {"git": "0" * 40, "git_dirty": False, "params_sha256": "f" * 64, "started": "2026-11-22T00:00:00+00:00", "seconds": 321.5}
    samples = read_changed(deployed(params), root / "data/evaluated")
    evidence = run(evaluations, predictions, samples, get_workload("digits"), params, facts)
    write_decision(evidence, root / "reports", templates=templates)
    write_page(page(evidence), root / "reports/stages/report/report", templates=templates)
    write_page(pruned(), root / "reports/stages/prune/channels50", templates=templates)
    return root / "reports"


def pruned() -> StagePage:
    layers = tuple(f"blocks.{index}.first.0.with.a.very.long.name.that.goes.on" for index in range(12))
    return StagePage(
        stage="prune",
        variant="channels50",
        title="Channels pruned by half: a title that is long enough to need a second line on a phone",
        summary=("Half of the channels went, and the model is four times smaller.",),
        comparison=(Row("accuracy", 0.9875, 0.9822, "fraction", "higher"), Row("size", 5_996_140, 1_511_122, "bytes", "lower")),
        tables=(Table("Layers", ("layer", "before", "after"), tuple((name, 128, 64) for name in layers)),),
        figures=(
            Figure("Sensitivity", bar_figure(layers, [0.001 * index for index in range(12)], x_label="layer", y_label="drop")),
            Figure(
                "Training",
                line_figure({"validation": [(index, 1 - 1 / index) for index in range(1, 20)]}, x_label="epoch", y_label="accuracy"),
            ),
            Figure("Activations", histogram_figure(range(41), [index * (40 - index) for index in range(40)], x_label="activation")),
        ),
    )


@pytest.mark.parametrize("path", ["index.html", "stages/prune/channels50.html", "stages/report/report.html"])
@pytest.mark.parametrize(("scheme", "viewport"), [("light", DESKTOP), ("dark", DESKTOP), ("light", PHONE), ("dark", PHONE)])
def test_a_page_shows_whole_and_fetches_nothing(browser, reports: Path, path: str, scheme: str, viewport: dict[str, int]) -> None:
    context = browser.new_context(color_scheme=scheme, viewport=viewport)
    tab, troubles, requests = context.new_page(), [], []
    tab.on("console", lambda message: troubles.append(message.text))
    tab.on("pageerror", lambda error: troubles.append(str(error)))
    tab.on("request", lambda request: requests.append(request.url))
    address = (reports / path).as_uri()
    tab.goto(address)
    tab.evaluate("document.querySelectorAll('details').forEach(box => { box.open = true })")
    assert tab.evaluate("document.documentElement.scrollWidth") == viewport["width"], "the page spills over to the side"
    assert [url for url in requests if url != address and not url.startswith("data:")] == []
    assert troubles == []
    paper = [int(part) for part in tab.evaluate("getComputedStyle(document.body).backgroundColor").strip("rgb()").split(",")]
    assert (sum(paper) > 600) == (scheme == "light")
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_stands_out_from_its_ground(browser, reports: Path, scheme: str) -> None:
    """The contrast of every badge and of the soft text is at least 4.5, as WCAG 2.2 asks."""
    tab = browser.new_page(color_scheme=scheme)
    tab.goto((reports / "index.html").as_uri())
    low = [text for text in tab.evaluate(CONTRASTS) if text]
    assert low == []
    tab.close()


def test_the_decision_page_leads_to_the_stages_and_back(browser, reports: Path) -> None:
    tab = browser.new_page()
    tab.goto((reports / "index.html").as_uri())
    tab.click("#pages a[href='stages/prune/channels50.html']")
    assert "Channels pruned by half" in tab.inner_text("h1")
    tab.click("a.brand")
    assert tab.url == (reports / "index.html").as_uri()
    tab.close()
