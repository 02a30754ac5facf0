"""The studio as people see it: in a real browser, from a picture to its download, offline, on a desktop and a phone."""

import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from command import pixels
from impasto import RunSpec, TransferSettings, read_run, run
from impasto.folders.specfiles import read_spec
from studio_program import BRISK, Studio, save_pictures_and_mask, studio

pytestmark = pytest.mark.slow
QUIET = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking")
DESK, PHONE = {"width": 1400, "height": 900}, {"width": 390, "height": 844}
SECONDS = 300_000
FEW_FRAMES = """
requestAnimationFrame = draw => setTimeout(() => draw(performance.now()), 250);
cancelAnimationFrame = clearTimeout;
const context = HTMLCanvasElement.prototype.getContext;
HTMLCanvasElement.prototype.getContext = function (kind, given) {
  return context.call(this, kind, {...given, antialias: false});
};
"""
TYPED = """field => {
  document.querySelector("#paint").click();  // the answer cannot come before the next line
  field.value = "6";
  field.dispatchEvent(new Event("input", {bubbles: true}));
}"""
DRAWN_AGAIN = """page => { page.parentNode.innerHTML = page.outerHTML.replace('data-drawn=""', "") }"""
OWN = "Method not implemented."  # Gradio says so of its own client at each upload


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = shutil.which(os.environ.get("CHROMIUM", "chromium"))
    if path is None:
        pytest.fail("these tests need Chromium (Debian: apt install chromium)", pytrace=False)
    expect.set_options(timeout=SECONDS)
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=list(QUIET))
        yield opened
        opened.close()
    expect.set_options(timeout=None)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_pictures_and_mask(tmp_path_factory.mktemp("studio"))


@pytest.fixture(scope="module")
def running(here: Path) -> Iterator[Studio]:
    with studio(here / "runs", program=("-c", BRISK)) as program:
        yield program


@pytest.fixture(scope="module")
def window(browser: Browser) -> Iterator[BrowserContext]:
    """A window whose pages share what the browser has loaded and compiled, and draw few, rough frames without a GPU."""
    opened = browser.new_context(viewport=DESK, device_scale_factor=0.5, reduced_motion="reduce")
    opened.set_default_timeout(SECONDS)
    opened.add_init_script(FEW_FRAMES)
    yield opened
    opened.close()


def watch(page: Page, url: str) -> list[str]:
    """What the page asks of others, and complains of."""
    wrong: list[str] = []
    allowed = (url, "data:", "blob:")
    page.on("request", lambda request: None if request.url.startswith(allowed) else wrong.append(request.url))
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    return wrong


@pytest.fixture
def page(window: BrowserContext, running: Studio) -> Iterator[Page]:
    """The studio on a new page; at the end, a run that is left over is stopped."""
    opened = window.new_page()
    wrong = watch(opened, running.url)
    opened.goto(running.url)
    opened.wait_for_selector("#paint")
    yield opened
    opened.close()
    for job in running.ask("jobs"):
        if job["state"] in ("waiting", "running", "paused"):
            running.ask("stop", job["job"])
    assert [each for each in wrong if each != OWN] == []


def choose(page: Page, here: Path, steps: int, size: int = 64) -> None:
    """Upload both pictures, and set the size and the steps."""
    page.locator("#photo input[type=file]").set_input_files(here / "photo.png")
    page.locator("#paintings input[type=file]").set_input_files(here / "painting.png")
    expect(page.locator(".chosen img")).to_have_count(2)
    for name, value in (("size", size), ("steps", steps)):
        box = page.locator(f"#setting-{name} input[type=number]")
        box.fill(str(value))
        box.press("Tab")


def says(page: Page, words: str) -> None:
    expect(page.locator("#status")).to_contain_text(re.compile(f"{words}|ended early", re.IGNORECASE))
    assert "ended early" not in page.locator("#status").inner_text().lower()


def step(page: Page) -> int:
    """The step that the page shows; -1 if none is shown yet."""
    found = re.search(r"step (\d+)", page.locator("#status").inner_text())
    return int(found[1]) if found else -1


def settle(page: Page) -> None:
    """Wait until the page's layout is the same twice."""
    layout = "[document.all.length, document.body.scrollHeight]"
    before, now = None, page.evaluate(layout)
    for _ in range(300):
        if before == now:
            return
        page.wait_for_timeout(200)
        before, now = now, page.evaluate(layout)
    pytest.fail("the page's layout changes for ever")


def newest(runs: Path) -> Path:
    return max((each.parent for each in runs.glob("*/run.toml")), key=lambda each: each.stat().st_mtime)


def test_from_upload_to_download(page: Page, running: Studio, here: Path) -> None:
    """Live pictures are seen at least three times; the curves, the slider and the download are there."""
    choose(page, here, steps=30)
    begun = time.monotonic()
    page.click("#paint")
    page.wait_for_selector("#canvas img")
    first_seconds = time.monotonic() - begun
    assert first_seconds < 120  # two on a quiet machine, see docs/studio.md
    seen = set()
    while page.locator("#compare .slider").count() == 0 or not page.locator("#compare .slider").is_visible():
        if (shown := page.evaluate("document.querySelector('#canvas img')?.src.slice(0, 4000)")) is not None:
            seen.add(shown)
        page.wait_for_timeout(100)
        assert time.monotonic() - begun < 300
    assert len(seen) >= 3
    says(page, "Transfer done.*step 30 of 30")
    expect(page.locator("#curves polyline")).not_to_have_count(0)
    page.locator("#compare input[type=range]").focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("#compare .slider").evaluate("each => each.style.getPropertyValue('--at')") == "51%"
    page.get_by_role("tab", name="Runs").click()
    page.locator("#gallery .thumbnail-item").first.click()
    page.wait_for_selector("#about h2")
    with page.expect_download() as download:
        page.get_by_role("link", name="Picture (PNG)").click()
    assert download.value.path().read_bytes() == (newest(running.runs) / "result.png").read_bytes()


def test_changed_reloaded_and_stopped(page: Page, running: Studio, here: Path) -> None:
    """The strength changes in the middle, the page is reloaded in the middle, and the picture so far is kept.

    A setting typed in the panel as soon as the run is shown is not overwritten by the run's own.
    """
    page.get_by_role("button", name="Change while it paints").click()
    choose(page, here, steps=2000)
    page.click("#paint")
    says(page, r"^\s*(transfer )?painting|waiting for its turn")  # a path may name a painting too
    box = page.locator("#steer-style_weight input[type=number]")
    for weight, least in (("0.5", 3), ("6", 0)):
        box.fill(weight)
        box.press("Tab")
        page.click("#apply")
        says(page, f"style_weight is {weight}.* now")
        changed_at = step(page)
        while step(page) < changed_at + least:
            page.wait_for_timeout(100)
    page.reload()
    page.wait_for_selector("#canvas img")
    while step(page) < changed_at + 3:
        page.wait_for_timeout(100)
    page.click("#stop")
    says(page, "stopped; the picture so far is kept")
    record = read_run(newest(running.runs))
    assert record.status == "interrupted"
    assert [change.settings["style_weight"] for change in record.spec.changes] == [0.5, 6]
    before, after = record.parts[0].lines[record.spec.changes[1].step - 1 :][:2]
    assert after.losses["style/relu3_1"] > 3 * before.losses["style/relu3_1"]


def test_two_jobs_queue_and_one_is_paused(page: Page, running: Studio, here: Path) -> None:
    """The second waits, is painted while the first is paused, and the first goes on."""
    choose(page, here, steps=400, size=48)
    page.click("#paint")
    says(page, "painting.*step")
    first = newest(running.runs)
    page.locator("#setting-steps input[type=number]").fill("3")
    page.locator("#setting-steps input[type=number]").press("Tab")
    page.click("#paint")
    says(page, "waiting for its turn")
    page.locator("#jobs input").click()
    page.get_by_role("option", name=f"{first.name} ·").click()
    says(page, "painting.*step")
    page.click("#pause")
    says(page, "paused")
    page.locator("#jobs input").click()
    page.get_by_role("option").last.click()
    says(page, "step 3 of 3")
    page.locator("#jobs input").click()
    page.get_by_role("option", name=f"{first.name} ·").click()
    says(page, "paused")
    page.click("#go-on")
    says(page, "painting.*step")
    page.click("#stop")
    says(page, "stopped")


def test_a_mask_is_painted_and_seen(page: Page, running: Studio, here: Path) -> None:
    """What is painted over with red is left as it is; the mask is a file that the command line can name."""
    choose(page, here, steps=4)
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url) if "/upload" in request.url else None)
    page.get_by_role("tab", name="Regions").click()
    page.wait_for_selector("#mask-photo canvas")
    expect(page.get_by_role("button", name="Undo")).to_be_enabled()  # the editor has drawn the photo
    box = page.locator("#mask-photo canvas").first.bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x - 60, y)
    page.mouse.down()
    page.mouse.move(x + 60, y, steps=4)
    page.mouse.up()
    page.wait_for_timeout(500)
    page.click("#use-regions")
    expect(page.locator("#note")).to_contain_text("red is left as it is")
    page.click("#paint")
    says(page, "Transfer done.*step 4 of 4")  # the run before, which the page shows until then, had 3
    assert len(sent) < 40  # pictures of the editor; more than a hundred if Gradio asks for them at each answer
    folder = newest(running.runs)
    (region,) = read_spec(folder).spec.settings.region
    assert region.is_photo
    with Image.open(folder / region.mask.file) as opened, Image.open(here / "photo.png") as photo:
        result = pixels(folder / "result.png").astype(int)
        size = (result.shape[1], result.shape[0])
        mask = np.asarray(opened.convert("L").resize(size))
        before = np.asarray(photo.convert("RGB").resize(size, Image.Resampling.BICUBIC)).astype(int)
    inside, outside = mask > 250, mask < 5
    assert inside.sum() > 50
    apart = np.abs(result[..., :3] - before).mean(-1)
    assert 3 * apart[inside].mean() < apart[outside].mean()
    with_mask = TransferSettings(size=64, steps=4, region=(f"{folder / region.mask.file}=photo",))
    spec = RunSpec(task="transfer", pictures=(here / "photo.png", here / "painting.png"), settings=with_mask)
    assert (pixels(run(spec, here / "with-mask") / "result.png") == pixels(folder / "result.png")).all()


def test_nine_ways_and_one_large(page: Page, running: Studio, here: Path) -> None:
    """Nine candidates come one by one; the one that is clicked is painted large, from the small one."""
    choose(page, here, steps=2)
    page.get_by_role("tab", name="Explore").click()
    before = len(running.ask("jobs"))
    page.click("#nine")
    while not (sheets := running.ask("jobs")[before:]):
        page.wait_for_timeout(100)
    (sheet,) = sheets
    while not (running.runs / sheet["run"] / "01/result.png").is_file():
        page.wait_for_timeout(50)
    running.ask("pause", sheet["job"])  # so that the page sees less than nine, however slow the page is
    candidates = page.locator("#candidates .thumbnail-item")
    expect(candidates.first).to_be_visible()
    assert candidates.count() < 9
    while running.ask("look", sheet["job"])["state"] != "paused":
        page.wait_for_timeout(100)
    running.ask("go_on", sheet["job"])
    expect(candidates).to_have_count(9)
    page.locator("#large input[type=number]").fill("256")
    page.locator("#large input[type=number]").press("Tab")
    candidates.nth(4).click()
    says(page, "Transfer.*256")
    page.click("#stop")
    says(page, "stopped|done")
    large = read_spec(newest(running.runs)).spec.settings
    assert large.size == 256
    assert Path(large.init).parts[-2:] == ("05", "result.png")


def test_a_unit_has_a_pattern(page: Page) -> None:
    """The fourth question needs no picture; each unit's pattern comes with its name.

    A small picture that is pressed stays, also if the page is drawn again, as it is if another unit's picture comes.
    """
    page.get_by_role("tab", name="Understand").click()
    expect(page.locator("#units-layer")).not_to_be_visible()
    page.get_by_text("What do units of a layer answer to most?").click()
    for name, value in (("layer", "conv1_2"), ("channel", "3,5")):
        page.locator(f"#units-{name} :is(input, textarea)").fill(value)
    page.click("#look-inside")
    expect(page.locator("#layers .strip li")).to_have_count(2)
    expect(page.locator("#inside-status")).to_contain_text("done")  # no picture comes any more
    shown = page.locator("#layers figcaption:visible")
    expect(shown).to_contain_text("channel-3")
    page.locator("#layers .strip button").last.click()
    expect(shown).to_have_text("channel-5")
    page.locator("#layers .layers").evaluate(DRAWN_AGAIN)
    expect(page.locator("#layers .layers:not([data-drawn])")).to_have_count(0)
    expect(shown).to_have_text("channel-5")


def test_layers_are_slid_through(page: Page, running: Studio, here: Path) -> None:
    """Each layer's picture comes, and the slider shows one after the other."""
    choose(page, here, steps=5)
    page.get_by_role("tab", name="Understand").click()
    page.click("#look-inside")
    expect(page.locator("#layers .strip li").first).to_be_visible()
    expect(page.locator("#layers figure:visible")).to_have_count(2)  # the original, and the layer's
    expect(page.locator("#layers .strip li")).to_have_count(5)
    expect(page.locator("#inside-status")).to_contain_text("done")  # no picture comes any more
    expect(page.locator("#layers figcaption:visible")).to_contain_text("conv1_1")
    page.locator("#layers input[type=range]").focus()
    page.keyboard.press("End")
    expect(page.locator("#layers figcaption:visible")).to_contain_text("conv5_1")
    expect(page.locator("#layers figure:visible img").last).to_have_js_property("naturalWidth", 160)


def test_what_was_chosen_is_upright_and_put_away_again(page: Page, here: Path) -> None:
    """A photo that the camera has turned; a message is a sentence, and has no button within a button."""
    settle(page)
    (here / "page.png").write_text("<svg><script>alert(1)</script></svg>")
    page.locator("#photo input[type=file]").set_input_files(here / "page.png")
    expect(page.locator(".toast-wrap")).to_contain_text("is not a picture that can be read")
    exif = Image.Exif()
    exif[0x0112] = 6  # EXIF's orientation: the camera was turned
    with Image.open(here / "photo.png") as photo:
        photo.save(here / "turned.jpg", exif=exif)
    for name, file in (("photo", "turned.jpg"), ("paintings", "painting.png")):
        page.locator(f"#{name} input[type=file]").set_input_files(here / file)
    expect(page.locator(".chosen img")).to_have_count(2)
    assert page.locator(".chosen img").first.evaluate("each => each.naturalWidth < each.naturalHeight")
    page.locator("#paintings").get_by_label("Clear").click()
    expect(page.locator(".chosen img")).to_have_count(1)
    page.click("#paint")
    expect(page.locator(".toast-wrap")).to_contain_text("Transfer needs a photo and a painting")
    expect(page.locator("[role=button] button, button button")).to_have_count(0)


def test_an_example_and_another_task(page: Page) -> None:
    """What a task does not have is not shown."""
    page.get_by_role("button", name="Kingfisher").click()
    expect(page.locator(".chosen img")).to_have_count(1)
    page.get_by_text("What one layer keeps of a photo").click()
    expect(page.locator("#paintings")).not_to_be_visible()
    expect(page.locator("#setting-layer")).to_be_visible()
    expect(page.locator("#setting-style_weight")).not_to_be_visible()


def test_repeated_and_deleted(page: Page, running: Studio) -> None:
    """A run is taken over with its settings; it is deleted only after a question."""
    page.get_by_role("tab", name="Runs").click()
    page.locator("#gallery .thumbnail-item").last.click()
    page.wait_for_selector("#about h2")
    name = (page.locator("#about p").first.text_content() or "").partition(" · ")[0]
    folder = running.runs / name
    assert folder.is_dir()
    page.click("#repeat")
    expect(page.locator(".chosen img")).to_have_count(2)
    steps = read_spec(folder).spec.settings.steps
    expect(page.locator("#setting-steps input[type=number]")).to_have_value(str(steps))
    page.get_by_role("tab", name="Runs").click()
    page.click("#delete")
    page.click("#keep")
    expect(page.locator("#really")).not_to_be_visible()
    page.click("#delete")
    page.click("#really")
    expect(page.locator("#about")).to_contain_text("Choose a run")
    assert not folder.exists()


def test_the_gallery_follows_the_folder_of_runs(page: Page, running: Studio, here: Path) -> None:
    """A run that comes while the page is open is shown; one that is deleted elsewhere is no longer chosen."""
    settings = TransferSettings(size=32, steps=1, frames=0)
    pictures = (here / "photo.png", here / "painting.png")
    page.get_by_role("tab", name="Runs").click()
    expect(page.locator("#about")).to_contain_text("Choose a run", timeout=SECONDS)
    folder = run(RunSpec(task="transfer", pictures=pictures, settings=settings), running.runs / "elsewhere")
    page.locator("#gallery .thumbnail-item").filter(has_text="elsewhere · done").click(timeout=SECONDS)
    expect(page.locator("#about h2")).to_have_text("photo, in the style of painting", timeout=SECONDS)
    page.click("#delete")
    expect(page.locator("#keep")).to_be_visible(timeout=SECONDS)
    keep, really = (page.locator(name).bounding_box() for name in ("#keep", "#really"))
    assert keep is not None
    assert really is not None
    assert keep["x"] < really["x"]  # a second click does not delete
    shutil.rmtree(folder)
    expect(page.locator("#about")).to_contain_text("Choose a run", timeout=SECONDS)
    expect(page.locator("#gallery .thumbnail-item").filter(has_text="elsewhere")).to_have_count(0)


@pytest.mark.parametrize(("viewport", "scheme"), [(DESK, "light"), (PHONE, "dark")], ids=["desk", "phone"])
def test_the_pages_fit_and_have_names(browser: Browser, running: Studio, viewport: dict[str, int], scheme: str) -> None:
    """No wider than the screen, the tabs in one line, a name for all that can be pressed.

    axe-core, if AXE names its file, finds nothing.
    """
    context = browser.new_context(viewport=viewport, color_scheme=scheme)
    context.add_init_script(FEW_FRAMES)
    page = context.new_page()
    wrong = watch(page, running.url)
    page.goto(running.url)
    page.wait_for_selector("#paint")
    boxes = [tab.bounding_box() for tab in page.get_by_role("tab").all()]
    assert len(boxes) == 5
    assert len({box["y"] for box in boxes if box is not None}) == 1
    for tab in ("Paint", "Explore", "Regions", "Understand", "Runs"):
        page.get_by_role("tab", name=tab).click()
        settle(page)
        assert page.evaluate("document.documentElement.scrollWidth") == viewport["width"]
        nameless = page.eval_on_selector_all(
            "button, input, a, img",
            "all => all.filter(e => e.offsetParent && !(e.ariaLabel || e.title || e.hasAttribute('alt') ||"
            " e.innerText?.trim() || e.labels?.length || e.closest('label'))).map(e => e.outerHTML.slice(0, 200))",
        )
        assert nameless == []
        if "AXE" in os.environ:
            page.evaluate(Path(os.environ["AXE"]).read_text("utf-8"))
            found = page.evaluate("axe.run()")["violations"]
            assert [each["id"] for each in found if each["impact"] in ("serious", "critical")] == []
    assert wrong == []
    context.close()


def test_a_double_click_is_one_order(page: Page, running: Studio, here: Path) -> None:
    """The list of jobs names the run, and the files are there at its end, also after the page was reloaded."""
    choose(page, here, steps=5)
    before = len(running.ask("jobs"))
    page.dblclick("#paint")
    says(page, "Transfer done.*step 5 of 5")
    (made,) = running.ask("jobs")[before:]
    expect(page.locator("#jobs input")).to_have_value(f"{made['job']} · {made['run']} · done")
    page.wait_for_timeout(1000)  # so that no answer is on the way
    page.reload()
    with page.expect_download() as download:
        page.locator("#status").get_by_role("link", name="Picture (PNG)").click(timeout=SECONDS)
    assert download.value.path().read_bytes() == (running.runs / made["run"] / "result.png").read_bytes()
    expect(page.locator("#curves polyline")).not_to_have_count(0)


def test_typed_before_the_answer_and_masks_given_to_the_run(page: Page, running: Studio, here: Path) -> None:
    """What is typed between the click and its answer stays; a run takes a mask; keys alone open pages and runs."""
    page.get_by_role("button", name="Change while it paints").click()
    page.get_by_role("button", name="Advanced").click()  # numbers that are not given stay so
    choose(page, here, steps=2000)
    page.locator("#steer-style_weight input[type=number]").evaluate(TYPED)
    says(page, "step [1-9]")
    expect(page.locator("#steer-content_weight input[type=number]")).to_have_value("0.01")
    assert page.locator("#steer-style_weight input[type=number]").input_value() == "6"
    page.click("#apply")
    says(page, "style_weight is 6.* now")
    page.get_by_role("tab", name="Paint").focus()
    for _ in range(2):
        page.keyboard.press("ArrowRight")
    page.set_input_files("#mask-files input[type=file]", here / "box.png")
    expect(page.locator("#mask-files")).to_contain_text("box")
    page.locator("#change-regions").press("Enter")
    says(page, "region is box: left as it is now")
    expect(page.locator("#stop")).to_be_visible()  # the page Paint is open again
    page.locator("#stop").press("Enter")
    says(page, "stopped")
    page.get_by_role("tab", name="Runs").press("Enter")
    page.locator("#gallery button.thumbnail-item").first.press("Enter")
    expect(page.locator("#about")).to_contain_text("interrupted")
    first, second = read_spec(newest(running.runs)).spec.changes
    assert first.settings == {"style_weight": 6}
    assert second.files[0].read_bytes() == (here / "box.png").read_bytes()


def test_killed_and_started_again(window: BrowserContext, here: Path) -> None:
    """The studio offers to resume the run, and the picture is that of a run that was never interrupted."""
    first = Studio(here / "killed")
    page = window.new_page()
    page.goto(first.url)
    choose(page, here, steps=24, size=32)
    page.click("#paint")
    says(page, "painting.*step")
    first.kill()
    page.goto("about:blank")  # a page whose studio is gone asks and asks
    folder = newest(here / "killed")
    for _ in range(3000):
        if (folder / "summary.json").is_file() and not (folder / ".impasto-owner").exists():
            break
        time.sleep(0.1)
    with studio(here / "killed") as second:
        page.goto(second.url)
        says(page, "paused")
        page.click("#go-on")
        says(page, "Transfer done")
        page.close()
    whole = run(read_spec(folder).spec, here / "whole")
    assert (pixels(folder / "result.png") == pixels(whole / "result.png")).all()
