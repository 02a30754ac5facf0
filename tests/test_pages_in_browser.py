"""Pages as readers see them: opened from disk by a real browser, offline, on a desktop and on a phone."""

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from command import call, read_json, read_lines, save_pictures
from impasto.pages.comparison import write_comparison

pytestmark = pytest.mark.slow
QUIET = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking")
DESK, PHONE = {"width": 1400, "height": 900}, {"width": 390, "height": 844}
LOCAL = ("file:", "data:", "blob:", "about:")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = shutil.which(os.environ.get("CHROMIUM", "chromium"))
    if path is None:
        pytest.fail(
            "these tests need Chromium (Debian: apt install chromium); CHROMIUM may name another", pytrace=False
        )
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=list(QUIET))
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def pages(made: Path, studied: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    comparison = tmp_path_factory.mktemp("comparison") / "comparison.html"
    write_comparison([made / "one", made / "other"], comparison)
    return {
        "one": made / "one/report.html",
        "layers": made / "layers/report.html",
        "comparison": comparison,
        "study": studied / "study/report.html",
    }


@dataclass
class Opened:
    """A page in the browser, and what went wrong on it."""

    page: Page
    wrong: list[str] = field(default_factory=list)


@pytest.fixture
def opened(browser: Browser, pages: dict[str, Path], request: pytest.FixtureRequest) -> Iterator[Opened]:
    """The page, and at the end: nothing was asked of the network, nothing was complained of."""
    name, viewport, scheme = request.param
    context = browser.new_context(viewport=viewport, color_scheme=scheme, has_touch=viewport is PHONE, offline=True)
    opened = Opened(context.new_page())
    page, wrong = opened.page, opened.wrong
    page.on("request", lambda request: None if request.url.startswith(LOCAL) else wrong.append(request.url))
    page.on("console", lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto(pages[name].as_uri())
    page.wait_for_selector(".plot canvas")
    yield opened
    assert opened.wrong == []
    context.close()


def until(page: Page, expression: str) -> None:
    """Wait; Playwright's own way of waiting for JavaScript is forbidden by the page's policy."""
    for _ in range(1200):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(50)
    pytest.fail(f"never came: {expression}")


def on(name: str, viewport: dict[str, int] = DESK, scheme: str = "light") -> pytest.MarkDecorator:
    return pytest.mark.parametrize("opened", [(name, viewport, scheme)], indirect=True, ids=[name])


EVERY = [
    (name, size, scheme)
    for name in ("one", "layers", "comparison", "study")
    for size, scheme in ((DESK, "light"), (PHONE, "dark"))
]
INK = """canvas => {
    const {width, height} = canvas, pixels = canvas.getContext("2d").getImageData(0, 0, width, height).data;
    for (let i = 0; i < pixels.length; i += 4) {
        const r = pixels[i], g = pixels[i + 1], b = pixels[i + 2];
        if (pixels[i + 3] === 255 && Math.max(r, g, b) - Math.min(r, g, b) > 60) return true;
    }
    return false;
}"""


@pytest.mark.parametrize("opened", EVERY, indirect=True, ids=lambda each: f"{each[0]}-{each[1]['width']}")
def test_every_page_is_whole(opened: Opened) -> None:
    """Pictures are there and have words, curves are drawn, and the page is no wider than the screen."""
    page = opened.page
    images = page.eval_on_selector_all(
        "img", "all => all.map(i => [i.alt, i.complete && i.naturalWidth, i.offsetParent ? i.offsetWidth : 99])"
    )
    assert len(images) >= 4
    for alt, loaded, shown in images:
        assert alt
        assert loaded > 0
        assert shown > 30
    wide = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    assert wide[0] == wide[1] == page.viewport_size["width"]
    page.eval_on_selector_all("details", "all => all.forEach(each => each.open = true)")
    until(page, "[...document.querySelectorAll('.plot')].every(plot => plot.querySelector('canvas'))")
    for canvas in page.query_selector_all(".plot canvas"):
        assert canvas.evaluate(INK)
    assert page.evaluate("document.documentElement.scrollWidth") == page.viewport_size["width"]


def luminance(page: Page) -> tuple[float, float]:
    """Of the paper and of the ink, 0 … 255."""
    style = "e => ['backgroundColor', 'color'].map(k => getComputedStyle(e)[k].match(/\\d+/g).slice(0, 3).map(Number))"
    paper, ink = page.eval_on_selector("body", style)
    return sum(paper) / 3, sum(ink) / 3


@on("one", PHONE, "light")
def test_light_and_dark(opened: Opened) -> None:
    """By what the reader prefers, at once and also later."""
    paper, ink = luminance(opened.page)
    assert paper > 230
    assert ink < 60
    before = opened.page.eval_on_selector(".plot canvas", "canvas => canvas.toDataURL()")
    opened.page.emulate_media(color_scheme="dark")
    paper, ink = luminance(opened.page)
    assert paper < 40
    assert ink > 200
    until(opened.page, f"document.querySelector('.plot canvas').toDataURL() !== {json.dumps(before)}")


@on("one")
def test_the_slider_moves(opened: Opened) -> None:
    page = opened.page
    slider = page.locator("img-comparison-slider")
    assert slider.get_attribute("aria-valuenow") == "50"
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + box["height"] / 2)
    page.mouse.up()
    assert slider.get_attribute("aria-valuenow") == "25"
    slider.focus()
    page.keyboard.down("ArrowRight")
    until(page, "document.querySelector('img-comparison-slider').value > 30")
    page.keyboard.up("ArrowRight")
    shapes = page.eval_on_selector_all(
        "img-comparison-slider img", "all => all.map(i => [i.offsetWidth, i.offsetHeight])"
    )
    assert shapes[0] == shapes[1]


@on("one")
def test_the_scrubber_shows_other_frames(opened: Opened, made: Path) -> None:
    page = opened.page
    frames = sorted((made / "one" / "frames").iterdir())
    image, label, scrubber = (
        page.locator(".film img"),
        page.locator(".film [data-label]"),
        page.locator(".scrubber input"),
    )
    assert scrubber.get_attribute("max") == str(len(frames) - 1)
    assert (label.text_content() or "").startswith("step 12 of 12")
    scrubber.focus()
    seen = {image.get_attribute("src")}
    for _ in frames[1:]:
        page.keyboard.press("ArrowLeft")
        seen.add(image.get_attribute("src"))
    assert len(seen) == len(frames)
    assert (label.text_content() or "").startswith("step 0 of 12")
    assert scrubber.get_attribute("aria-valuetext") == label.text_content()
    play = page.locator("[data-play]")
    play.click()
    assert play.text_content() == "Pause"
    until(page, "document.querySelector('.film [data-label]').textContent.startsWith('step 12')")
    assert play.text_content() == "Play"


@on("layers")
def test_one_scrubber_moves_all_films(opened: Opened) -> None:
    page = opened.page
    before = page.eval_on_selector_all(".film img", "all => all.map(i => i.src)")
    page.locator(".scrubber input").fill("0")
    after = page.eval_on_selector_all(".film img", "all => all.map(i => i.src)")
    assert len(before) == 2
    assert all(one != other for one, other in zip(before, after, strict=True))
    assert page.locator(".row").count() == 2
    assert page.locator(".row img").count() == 10


@on("study")
def test_all_that_moves_in_a_study(opened: Opened) -> None:
    """Its scrubbers, each on its own; its slider; values of filters under the cursor."""
    page = opened.page
    assert page.locator(".scrubber").count() == 3
    for scrubber in page.locator(".scrubber").all():
        before = scrubber.locator(".film img").evaluate_all("all => all.map(i => i.src)")
        scrubber.locator("input").fill("0")
        after = scrubber.locator(".film img").evaluate_all("all => all.map(i => i.src)")
        assert all(one != other for one, other in zip(before, after, strict=True))
    slider = page.locator("img-comparison-slider")
    slider.scroll_into_view_if_needed()
    slider.focus()
    page.keyboard.down("ArrowRight")
    until(page, "document.querySelector('img-comparison-slider').value > 55")
    page.keyboard.up("ArrowRight")
    profile = page.locator("#network .plot").first
    profile.focus()
    page.keyboard.press("Home")
    assert profile.locator(".u-legend .u-label").all_text_contents() == ["filter", "photographs", "before", "after"]
    filter_number, photographs, before_, after_ = map(float, profile.locator(".u-legend .u-value").all_text_contents())
    assert filter_number == 1
    assert before_ / photographs == pytest.approx(after_, rel=0.02)


@on("study", PHONE)
def test_a_study_leads_to_its_sections(opened: Opened) -> None:
    page = opened.page
    for link in page.locator(".contents a").all():
        link.click()
        (target,) = [link.get_attribute("href")]
        assert target is not None
        top = page.locator(target).bounding_box()
        assert top is not None
        assert top["y"] < 844


@on("one")
def test_curves_say_their_values(opened: Opened, made: Path) -> None:
    """The legend has the last values, then those under the cursor, by mouse and by keys."""
    page = opened.page
    lines = read_lines(made / "one" / "metrics.jsonl")
    values = page.locator(".plot").first.locator(".u-legend .u-value")

    def shown() -> list[float]:
        return [float(text) if text != "–" else 0.0 for text in values.all_text_contents()]

    def written(index: int) -> list[float]:
        line = lines[index]
        return [line["step"], line["total"], *line["losses"].values()]

    def shows(index: int) -> None:
        """Now or soon."""
        for _ in range(1200):
            if shown() == pytest.approx(written(index), rel=0.01):
                return
            page.wait_for_timeout(50)
        assert shown() == pytest.approx(written(index), rel=0.01)

    shows(-1)
    over = page.locator(".plot .u-over").first
    over.scroll_into_view_if_needed()
    box = over.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 1, box["y"] + 50)
    shows(0)
    page.mouse.move(box["x"] + 1, box["y"] - 200)
    shows(-1)
    page.locator(".plot").first.focus()
    page.keyboard.press("Home")
    shows(0)
    page.keyboard.press("ArrowRight")
    shows(1)


@on("comparison")
def test_runs_on_the_same_axes(opened: Opened, made: Path) -> None:
    page = opened.page
    labels = page.locator(".plot").first.locator(".u-legend .u-label").all_text_contents()
    assert labels == ["step", "one", "other"]
    assert page.locator(".film").count() == 2
    captions = page.locator(".row figcaption").all_text_contents()
    assert ["style_weight: 1.0" in captions[0], "style_weight: 3.0" in captions[1]] == [True, True]
    errors = read_json(made / "other" / "summary.json")["metrics"]["feature_error"]
    assert f"e {errors['relu4_2']:.3g} at relu4_2" in captions[1]


@on("one")
def test_the_toml_is_copied(opened: Opened, made: Path) -> None:
    page = opened.page
    page.evaluate("document.addEventListener('copy', () => { window.copied = String(getSelection()); })")
    page.evaluate("navigator.clipboard && (navigator.clipboard.writeText = async text => { window.copied = text; })")
    page.get_by_role("button", name="Copy TOML").click()
    page.get_by_role("button", name="Copied").wait_for()
    assert page.evaluate("window.copied") == (made / "one" / "run.toml").read_text("utf-8")


@on("one")
def test_where_there_is_no_clipboard_the_text_is_selected(opened: Opened) -> None:
    page = opened.page
    page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    page.get_by_role("button", name="Copy command").click()
    until(page, "String(getSelection()).startsWith('impasto transfer photo.png painting.png ')")


def test_without_scripts_there_is_still_something_to_read(browser: Browser, pages: dict[str, Path]) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(pages["one"].as_uri())
    assert page.locator("h1").text_content() == "photo, in the style of painting"
    assert page.locator("table").first.is_visible()
    context.close()


def test_the_index_of_a_batch(browser: Browser, tmp_path: Path) -> None:
    """Opened from disk: its small pictures are shown, nothing is fetched, and each leads to its run's page."""
    save_pictures(tmp_path)
    out = tmp_path / "100 % & more"  # a folder's name needs quoting in a link
    (tmp_path / "photo.png").rename(tmp_path / "a & b <1>.png")
    words = ("--recipe", "texture", "--size", 32, "--smallest", 32, "--steps", 1, "--layers", "relu1_1", "-o", out)
    assert call("batch", tmp_path, *words, "-q").code == 0
    context = browser.new_context(viewport=DESK, offline=True)
    page, wrong = context.new_page(), list[str]()
    page.on("request", lambda request: None if request.url.startswith(LOCAL) else wrong.append(request.url))
    page.on("console", lambda message: wrong.append(message.text))
    page.goto((out / "index.html").as_uri())
    for viewport in (DESK, PHONE):
        page.set_viewport_size(viewport)
        images = page.eval_on_selector_all("img", "all => all.map(i => i.complete && i.naturalWidth > 0)")
        assert images == [True] * 4
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.click("a")
    assert page.url.endswith("/report.html")
    assert "texture" in page.title().lower()
    assert wrong == []
    context.close()
