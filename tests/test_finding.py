"""Files that were moved are found by their hashes, and paths may be corrected."""

import os
from pathlib import Path

import pytest

from impasto.files import sha256
from impasto.folders.finding import file_of_hash
from impasto.folders.specfiles import fingerprint, located, read_spec

WORDS = """task = "invert"
pictures = ["{}"]
[settings]
layer = "conv1_1"
seed = {}
[provenance]
pictures_sha256 = ["{}"]
"""


def written(path: Path, content: str = "the picture") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


@pytest.mark.parametrize(
    "place",
    ["new/photos/a.png", "new/a.png", "a.png", "new/runs/run/a.png", "new/runs/photos/a.png", "elsewhere/a.png"],
)
@pytest.mark.parametrize("given", ["/old/photos/a.png", "photos/a.png", "../../photos/a.png"])
def test_a_picture_that_was_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, place: str) -> None:
    moved, run = written(tmp_path / place), tmp_path / "new" / "runs" / "run"
    run.mkdir(parents=True, exist_ok=True)
    (tmp_path / "elsewhere").mkdir(exist_ok=True)
    monkeypatch.chdir(tmp_path / "elsewhere")
    sha = sha256(moved)
    found = file_of_hash(Path(given), run, sha)
    assert found is not None
    assert found.samefile(moved)
    (run / "run.toml").write_text(WORDS.format(given, 0, sha))
    spec, changed = located(read_spec(run))
    assert spec.pictures[0].samefile(moved)
    assert not changed
    moved.write_text("another picture")
    assert file_of_hash(Path(given), run, sha) is None


def test_what_may_not_be_looked_at_is_not_the_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path / "a.png")

    def forbidden(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "stat", forbidden)
    monkeypatch.setattr(Path, "stat", forbidden)
    assert file_of_hash(Path("a.png"), tmp_path, "0" * 64) is None


def test_a_corrected_path_is_no_other_run() -> None:
    run = fingerprint(WORDS.format("/old/a.png", 0, "0" * 64))
    assert fingerprint(WORDS.format("/new/a.png", 0, "0" * 64)) == run
    assert fingerprint(WORDS.format("/old/a.png", 1, "0" * 64)) != run
    assert fingerprint(WORDS.format("/old/a.png", 0, "1" * 64)) != run
