"""The studio's page in a real browser: what is typed before an answer comes, regions given to a run, keys alone."""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from impasto.folders.specfiles import read_spec
from studio_program import Studio, save_pictures_and_mask, studio

pytestmark = pytest.mark.slow
SECONDS = 120_000
TYPED = """field => {
  document.querySelector("#paint").click();  // the answer cannot come before the next line
  field.value = "6";
  field.dispatchEvent(new Event("input", {bubbles: true}));
}"""


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_pictures_and_mask(tmp_path_factory.mktemp("studio"))


@pytest.fixture(scope="module")
def running(here: Path) -> Iterator[Studio]:
    with studio(here / "runs") as program:
        yield program


@pytest.fixture
def page(running: Studio) -> Iterator[Page]:
    path = shutil.which(os.environ.get("CHROMIUM", "chromium"))
    if path is None:
        pytest.fail("these tests need Chromium (Debian: apt install chromium)", pytrace=False)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        opened = browser.new_page()
        opened.goto(running.url)
        opened.wait_for_selector("#paint")
        yield opened
        browser.close()


def says(page: Page, words: str) -> None:
    expect(page.locator("#status")).to_contain_text(re.compile(words), timeout=SECONDS)


def test_typed_before_the_answer_and_masks_given_to_the_run(page: Page, running: Studio, here: Path) -> None:
    """What is typed between the click and its answer stays; a run takes a mask; keys alone open pages and runs."""
    page.get_by_role("button", name="Change while it paints").click()
    page.set_input_files("#photo input[type=file]", here / "photo.png")
    page.set_input_files("#paintings input[type=file]", here / "painting.png")
    expect(page.locator(".chosen img")).to_have_count(2, timeout=SECONDS)
    page.get_by_role("button", name="Advanced").click()  # numbers that are not given stay so
    for name, value in (("size", "96"), ("steps", "2000")):
        page.locator(f"#setting-{name} input[type=number]").first.fill(value)
        page.keyboard.press("Tab")
    page.locator("#steer-style_weight input[type=number]").evaluate(TYPED)
    says(page, "step [1-9]")
    expect(page.locator("#steer-content_weight input[type=number]")).to_have_value("0.01", timeout=SECONDS)
    assert page.locator("#steer-style_weight input[type=number]").input_value() == "6"
    page.click("#apply")
    says(page, "style_weight is 6.* now")
    page.get_by_role("tab", name="Paint").focus()
    for _ in range(2):
        page.keyboard.press("ArrowRight")
    page.set_input_files("#mask-files input[type=file]", here / "box.png")
    expect(page.locator("#mask-files")).to_contain_text("box", timeout=SECONDS)
    page.locator("#change-regions").press("Enter")
    says(page, "region is box: left as it is now")
    expect(page.locator("#stop")).to_be_visible(timeout=SECONDS)  # the page Paint is open again
    page.locator("#stop").press("Enter")
    says(page, "stopped")
    page.get_by_role("tab", name="Runs").press("Enter")
    page.locator("#gallery button.thumbnail-item").first.press("Enter")
    expect(page.locator("#about")).to_contain_text("interrupted", timeout=SECONDS)
    (folder,) = running.runs.glob("transfer-*")
    first, second = read_spec(folder).spec.changes
    assert first.settings == {"style_weight": 6}
    assert second.files[0].read_bytes() == (here / "box.png").read_bytes()
