"""The distribution: the wheel has all that the package needs, and the pages give the name to install."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from zipfile import ZipFile

import pytest

import impasto
from impasto.extras import DISTRIBUTION

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 0, ended.stderr
    (found,) = folder.glob("*.whl")
    return found


@pytest.mark.slow
def test_the_wheel_has_every_file_of_the_package(wheel: Path) -> None:
    source = ROOT / "src"
    ours = {
        path.relative_to(source).as_posix()
        for path in (source / "impasto").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    with ZipFile(wheel) as file:
        packed = set(file.namelist())
        weights = file.getinfo("impasto/data/vgg16.safetensors").file_size
    assert ours <= packed
    assert {"impasto/py.typed", "impasto/__init__.pyi", "impasto/data/vgg16-means.safetensors"} <= packed
    assert any(name.startswith("impasto/data/") and name.endswith((".html", ".jinja")) for name in packed)
    assert weights == (source / "impasto" / "data" / "vgg16.safetensors").stat().st_size > 10**7
    assert all(name.startswith(("impasto/", "impasto_torch-")) for name in packed)


@pytest.mark.slow
def test_the_wheel_says_who_it_is(wheel: Path) -> None:
    with ZipFile(wheel) as file:
        (info,) = {name.split("/")[0] for name in file.namelist() if ".dist-info/" in name}
        metadata = file.read(f"{info}/METADATA").decode()
        scripts = file.read(f"{info}/entry_points.txt").decode()
    assert f"\nName: {DISTRIBUTION}\n" in metadata
    assert f"\nVersion: {impasto.__version__}\n" in metadata
    assert "\nimpasto = impasto.cli.program:program\n" in scripts


def test_names_and_versions_agree() -> None:
    citation = (ROOT / "CITATION.cff").read_text("utf-8")
    assert PROJECT["name"] == DISTRIBUTION
    assert PROJECT["version"] == impasto.__version__
    assert f"\nversion: {PROJECT['version']}\n" in citation
    own = [each for each in PROJECT["optional-dependencies"]["dev"] if each.startswith("impasto")]
    assert [each.partition("[")[0] for each in own] == [DISTRIBUTION]


# The name impasto belongs to another package on PyPI, which nobody is to install by mistake.
WRONG = re.compile(r"pip3? install [^\n`]*(?<![\w./-])impasto(?!-torch)(?![\w/])")


@pytest.mark.parametrize(
    "path", [*PAGES, *(ROOT / "src").rglob("*.py"), *(ROOT / ".github").rglob("*.yml")], ids=lambda path: path.name
)
def test_nothing_says_to_install_another_package(path: Path) -> None:
    assert not WRONG.search(path.read_text("utf-8"))


@pytest.mark.parametrize("words", ["pip install impasto", "pip install 'impasto[ray]'", "pip install -U impasto torch"])
def test_wrong_words_are_found(words: str) -> None:
    assert WRONG.search(words)
    assert not WRONG.search(words.replace("impasto", "impasto-torch"))


def test_the_oldest_python_is_tested() -> None:
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text("utf-8")
    oldest = PROJECT["requires-python"].removeprefix(">=")
    assert f'python: ["{oldest}", ' in workflow
