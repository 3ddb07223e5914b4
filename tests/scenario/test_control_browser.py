"""The control room as an operator uses it: a run that goes on, a real browser, a quarantine with a reason."""

import shutil
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
RINGFORT = [sys.executable, "-c", "from ringfort.app.main import main; main()"]
RECIPE = """
title = "Breast cancer, watched"
seed = 1
data = { name = "breast-cancer", split = { by = "iid", clients = 10 } }
model = "numpy-logistic"
gate = { max_norm = 1e4, max_examples = 1000 }
defence = { f = 2, rule = "median" }
watch = { alpha = 0.01, preset = "recommended" }

[train]
rounds = 400
steps = 20
batch = 8
learning_rate = 0.05
"""


@pytest.fixture
def page():
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip("no Chromium on this machine")
    with api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=["--headless", "--no-sandbox", "--disable-gpu"])
        yield browser.new_page(viewport={"width": 1200, "height": 900})
        browser.close()


@pytest.fixture
def started(tmp_path):
    (tmp_path / "small.toml").write_text(RECIPE)
    processes = []

    def start(*words):
        process = subprocess.Popen(
            [*RINGFORT, *map(str, words)], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        processes.append(process)
        return process

    yield start
    for process in processes[::-1]:
        process.terminate()
        process.communicate(timeout=30)


def shown_round(page):
    return int(page.locator(".numbers .value").first.inner_text())


def eventually(page, true, tries=600):
    """The page's policy forbids what the driver's own waiting does, so we look again and again."""
    for _ in range(tries):
        if true():
            return
        page.wait_for_timeout(100)
    raise AssertionError("it never came true")


def test_an_operator_follows_a_run_and_puts_a_client_in_quarantine(page, started, tmp_path):
    run = tmp_path / "runs" / "small"
    training = started("train", "small.toml", "-q")
    while not (run / "rounds.jsonl").exists() or (run / "rounds.jsonl").stat().st_size == 0:
        assert training.poll() is None
    address = started("watch", run, "--by", "ada").stdout.readline().strip()
    said = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(address)
    assert "token" not in page.url
    first = shown_round(page)
    eventually(page, lambda: shown_round(page) > first + 2)
    page.get_by_role("link", name="client-03").first.click()
    page.get_by_label("Reason, for the record").first.fill("its site asked for it")
    page.get_by_role("button", name="Put in quarantine").click()
    page.wait_for_selector("[role=status]")
    assert "takes effect before the next round" in page.locator("[role=status]").inner_text()
    page.goto(address.partition("?")[0])
    row = page.locator("tr", has=page.get_by_role("link", name="client-03")).first
    eventually(page, lambda: "by a person" in row.inner_text())
    assert "its site asked for it" in row.inner_text()
    assert said == []
