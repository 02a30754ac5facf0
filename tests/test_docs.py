"""The documentation is true: code blocks run, commands work, options are documented."""

import importlib.util
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from batches import in_this_process
from conftest import copied
from impasto.cli.app import main
from impasto.networks.catalogue import Choice
from impasto.weights.layout import BLOCKS
from runs_for_study import TINIEST
from weights_files import narrow, save_torchvision

ROOT = Path(__file__).parent.parent
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *(
        ROOT / "docs" / f"{name}.md"
        for name in (
            "tour",
            "painting",
            "textures",
            "library",
            "methods",
            "tracking",
            "report",
            "resume",
            "study",
            "batch",
            "scaling",
            "large-pictures",
            "regions",
            "print",
            "colours",
            "explore",
            "networks",
            "any-network",
            "units",
        )
    ),
]


def blocks(language: str) -> list[tuple[str, str]]:
    return [
        (page.name, block)
        for page in PAGES
        for block in re.findall(rf"```{language}\n(.*?)```", page.read_text("utf-8"), flags=re.DOTALL)
    ]


def commands() -> list[str]:
    """Each command once, however many pages have it."""
    lines = [line for _, block in blocks("console") for line in block.splitlines()]
    return list(dict.fromkeys(re.split(r"\s#", line[2:])[0].strip() for line in lines if line.startswith("$ impasto ")))


def factory_of_the_page() -> str:
    """The file that docs/any-network.md begins with."""
    page = (ROOT / "docs" / "any-network.md").read_text("utf-8")
    found = re.search(r"`mine\.py`.*?```py\n(.*?)```", page, flags=re.DOTALL)
    assert found is not None
    return found[1]


CHANNELS = 128  # of each layer; the pages speak of channels up to 100


def narrow_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the bundled network the first channels: the others take time, and commands work without them."""
    trained = Choice._trained

    def narrowed(*arguments: Any) -> Any:
        tensors, mean = trained(*arguments)
        return {
            name: tensor[:CHANNELS, :CHANNELS] if tensor.ndim > 1 else tensor[:CHANNELS]
            for name, tensor in tensors.items()
        }, mean

    monkeypatch.setattr(Choice, "_trained", narrowed)


@pytest.fixture(scope="module")
def stocked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the pictures that the documentation speaks of, small ones, which are quickly read."""
    folder = tmp_path_factory.mktemp("stocked")
    (folder / "examples").mkdir()
    for path in [*(ROOT / "examples").glob("*.webp"), *(ROOT / "examples").glob("*.png")]:
        with Image.open(path) as picture:
            picture.thumbnail((256, 256), Image.Resampling.NEAREST if picture.mode == "L" else Image.Resampling.BOX)
            picture.save(folder / "examples" / path.name, icc_profile=picture.info.get("icc_profile"))
    for name, source in {
        "photo.jpg": "schwerin-palace.webp",
        "painting.jpg": "church-at-auvers.webp",
        "one.jpg": "night-cafe.webp",
        "two.jpg": "cafe-terrace-at-night.webp",
        "sky.png": "castle-sky.png",
    }.items():
        shutil.copy(folder / "examples" / source, folder / name)
    spec = (
        'task = "transfer"\npictures = ["photo.jpg", "painting.jpg"]\nsettings = {size = 32, steps = 2, frames = 2}\n'
    )
    (folder / "spec.toml").write_text(spec, "utf-8")
    (folder / "list.csv").write_text("content,style\nphoto.jpg,one.jpg;two.jpg\n", "utf-8")
    for name, picture in {"photos": "photo.jpg", "paintings": "painting.jpg", "FOLDER": "one.jpg"}.items():
        (folder / name).mkdir()
        shutil.copy(folder / picture, folder / name)
    save_torchvision(narrow(BLOCKS["VGG-19"]), BLOCKS["VGG-19"], folder / "vgg19-dcbb9e9d.pth")
    (folder / "mine.py").write_text(factory_of_the_page(), "utf-8")
    return folder


@pytest.fixture
def desk(stocked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that folder to work in."""
    monkeypatch.setenv("IMPASTO_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("WANDB_MODE", "offline")
    return copied(stocked, tmp_path, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize(("page", "code"), blocks("python"))
def test_python_blocks_run(page: str, code: str, desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if page != "CONTRIBUTING.md":  # whose code asserts something of the trained network
        narrow_network(monkeypatch)
    exec(compile(code, page, "exec"), {})
    assert any(desk.glob("*.png")) or any(desk.glob("runs/*/result.png"))


@pytest.mark.slow
@pytest.mark.parametrize("command", commands())
def test_commands_work(
    command: str, desk: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = shlex.split(command)[1:]
    side = "48" if "--region" in words else "32"  # a region has at least one position of the deepest layer
    small = ["--size", side, "--steps", "2", "--frames", "2", "--quiet"]
    if words[0] == "study":  # the command as it stands, with fewer and smaller parts
        monkeypatch.setattr("impasto.study.plan.QUICK", TINIEST)
        monkeypatch.setattr("impasto.study.plan.FULL", TINIEST)
    else:  # a study measures all channels
        narrow_network(monkeypatch)
    if words[0] == "batch" and "--jobs" not in words:  # one command shows that processes do as well
        monkeypatch.setattr("impasto.batch.processes.on_this_machine", in_this_process)
    if "vgg19.safetensors" in words and words[0] != "networks":
        with pytest.raises(SystemExit, match=r"^0$"):
            main(["networks", "convert", "vgg19-dcbb9e9d.pth", "vgg19.safetensors"])
    if "--print" in words:
        words[words.index("--print") + 1] = "1x1cm@100"
    if words[0] in ("report", "resume", "run", "show", "export", "blend"):
        for folder in (word.removesuffix("/result.png") for word in words if word.startswith("runs/")):
            with pytest.raises(SystemExit, match=r"^0$"):
                main(["transfer", "photo.jpg", "painting.jpg", *small, "--out", folder])
    elif words[0] == "enlarge":
        with pytest.raises(SystemExit, match=r"^0$"):
            main(["explore", "photo.jpg", "painting.jpg", *small, "--strengths", "1"])
        words[words.index("--size") + 1] = "64"
        words += ["--steps", "2", "--quiet"]
    elif words[0] == "explore":
        words += [*small, "--strengths", "1", "--strokes", "0.7,1.4"]  # fewer candidates
    elif words[0] not in ("normalise", "networks", "sweep", "study"):
        for option in small[:-1:2]:
            if option in words:
                at = words.index(option)
                del words[at : at + 2]
        words += small[2:] if "--print" in words else small
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 0, capsys.readouterr().err


def test_there_are_commands_to_test() -> None:
    assert {command.split()[1] for command in commands()} == {
        *("transfer", "invert", "reconstruct", "amalgamate", "texture", "normalise", "networks", "report"),
        *("resume", "run", "show", "sweep", "study", "batch"),
        *("export", "blend", "explore", "enlarge"),
        *("maximise", "caricature", "dream"),
    }


@pytest.mark.parametrize("name", ["architecture", "cli", "presets"])
def test_made_pages_are_fresh(name: str) -> None:
    source = ROOT / "docs" / f"make_{name}_page.py"
    spec = importlib.util.spec_from_file_location(source.stem, source)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.page() == (ROOT / "docs" / f"{name}.md").read_text("utf-8"), "run make docs"


def test_links_lead_somewhere() -> None:
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for link in re.findall(r"\]\(([^)#]+)", page.read_text("utf-8")):
            if not link.startswith("http"):
                assert (page.parent / link).exists(), f"{page.name}: {link}"


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "docs/tour.md"])
def test_maps_name_every_folder(page: str) -> None:
    folders = {file.parent.name for file in (ROOT / "src" / "impasto").glob("*/__init__.py")}
    rows = re.findall(r"^\| (`.+?) \|", (ROOT / page).read_text("utf-8"), re.MULTILINE)
    assert folders <= set(re.findall(r"`(\w+)`", " ".join(rows)))


def test_make_targets_are_documented() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    assert "make demo" in readme
    assert "make test" in readme
