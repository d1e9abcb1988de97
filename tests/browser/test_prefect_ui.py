"""A person starts a run from the form in Prefect's UI, in headless Chromium, and sees it complete."""

import importlib.util
import json
import shutil
import subprocess
import sys
from urllib.parse import urlsplit

import pytest

from tests.tiny_project import make_project

CHROMIUM = shutil.which("chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine: apt-get install chromium"),
    pytest.mark.skipif(importlib.util.find_spec("playwright") is None, reason="no playwright: pip install playwright"),
]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """(root, address of the UI) of a tiny project whose services are up."""
    root, env = make_project(tmp_path_factory.mktemp("ui"))
    env |= {"PREFECT_WORKER_QUERY_SECONDS": "1"}
    services = [sys.executable, "-m", "flows.services"]
    subprocess.run([*services, "up", "--port", "0"], cwd=root, env=env, check=True, timeout=180)
    api_url = json.loads((root / ".slimline/services.json").read_text())["api_url"]
    yield root, api_url.removesuffix("/api")
    subprocess.run([*services, "down"], cwd=root, env=env, check=True, timeout=60)


@pytest.fixture(scope="module")
def page():
    """A page of a real browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser.new_page(viewport={"width": 1400, "height": 1000})
        browser.close()


def submitted(page):
    """What the API says of the form; a busy SQLite refuses with 503, and one presses the button again."""
    for _ in range(3):
        with page.expect_response(lambda response: response.url.endswith("/create_flow_run"), timeout=90_000) as created:
            page.get_by_role("button", name="Submit").click()
        if created.value.status != 503:
            break
    assert created.value.ok, (created.value.status, created.value.text(), created.value.request.post_data)
    return created.value.json()


def test_a_run_is_started_from_the_form_and_completes(site, page, tmp_path):
    from playwright.sync_api import expect

    root, address = site
    asked = set()
    page.on("request", lambda request: asked.add(urlsplit(request.url).hostname or "127.0.0.1"))  # data: and blob: have no host
    on_demand = page.request.get(f"{address}/api/deployments/name/compress/on-demand").json()
    page.goto(f"{address}/deployments/deployment/{on_demand['id']}/run")
    for label in ("Targets", "Set Params", "Jobs", "On Failure", "Force", "Publish"):
        expect(page.get_by_text(f"{label} (Optional)").first).to_be_visible(timeout=30_000)
    page.locator("input[type=number]").first.fill("1")
    page.screenshot(path=tmp_path / "form.png", full_page=True)
    run_id = submitted(page)["id"]
    page.goto(f"{address}/runs/flow-run/{run_id}")
    expect(page.get_by_text("Completed", exact=True).first).to_be_visible(timeout=120_000)
    expect(page.get_by_text("q8 works").first).to_be_visible(timeout=30_000)
    page.screenshot(path=tmp_path / "run.png", full_page=True)
    page.get_by_text("Artifacts", exact=True).first.click()
    expect(page.get_by_text("report-quantize-q8").first).to_be_visible(timeout=30_000)
    page.screenshot(path=tmp_path / "artifacts.png", full_page=True)
    assert (root / "data/models/q8/model").read_text() == "q8"
    assert (root / "reports/releases.json").exists()
    run = page.request.get(f"{address}/api/flow_runs/{run_id}").json()
    assert run["parameters"]["options"]["jobs"] == 1
    assert asked == {"127.0.0.1"}, "the UI asked somebody else"
