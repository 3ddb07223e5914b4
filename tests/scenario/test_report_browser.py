"""The pages in a real browser: they open offline, say nothing to the console, ask nobody, and fit a phone."""

import importlib.util
import shutil
from pathlib import Path

import pytest

from ringfort.report import drill_html, train_html

pytestmark = pytest.mark.slow
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SAMPLES = Path(__file__).parents[1] / "unit" / "report" / "samples.py"
QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip


@pytest.fixture(scope="module")
def browser():
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip("no Chromium on this machine")
    with api.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=path, args=list(QUIET))
        yield running
        running.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    spec = importlib.util.spec_from_file_location("report_samples", SAMPLES)
    samples = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(samples)
    folder = tmp_path_factory.mktemp("pages")
    several = samples.untested(samples.drill(seeds=(7, 8, 9), broken=(("alie", "multi_krum"),)))
    written = {
        "drill": drill_html(samples.drill()),
        "several": drill_html(several),
        "train": train_html(samples.train()),
        "hostile": drill_html(samples.hostile(samples.drill())),
        "hostile-train": train_html(samples.hostile(samples.train())),
    }
    for name, page in written.items():
        (folder / f"{name}.html").write_text(page)
    return folder


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("name", ["drill", "several", "train", "hostile", "hostile-train"])
def test_page_opens_silently_and_fits(browser, pages, name, width, scheme):
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    try:
        page = context.new_page()
        said, asked = [], []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        address = (pages / f"{name}.html").as_uri()
        page.goto(address)
        assert said == []
        assert [url for url in asked if not url.startswith("data:")] == [address]
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        assert page.locator("h1").is_visible()
    finally:
        context.close()


def test_end_labels_do_not_overlap_as_drawn(browser, pages):
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto((pages / "several.html").as_uri())
    clashes = page.evaluate(
        """[...document.querySelectorAll('svg')].map(svg => {
            const boxes = [...svg.querySelectorAll('text')].map(t => t.getBoundingClientRect());
            const frame = svg.getBoundingClientRect();
            const outside = boxes.filter(b => b.right > frame.right + 1 || b.left < frame.left - 1).length;
            const ends = [...svg.querySelectorAll('text.end')].map(t => t.getBoundingClientRect());
            return outside + ends.filter((a, i) => ends.some((b, j) => j > i && a.top + 2 < b.bottom - 2
                && b.top + 2 < a.bottom - 2)).length;
        }).reduce((a, b) => a + b, 0)"""
    )
    page.close()
    assert clashes == 0
