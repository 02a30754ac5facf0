"""Specs from a pipe, lists with tabs, locked folders, links, and wrong kinds of values: each works or says why not."""

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from command import call, save_pictures
from conftest import example
from impasto.batch.inputs import find_entries
from impasto.images.files import save_image

RUN = ("invert", "photo.png", "--layer", "conv1_1", "--size", "32", "--steps", "1", "--frames", "0", "--threads", "1")
SPEC = 'task = "invert"\npictures = ["photo.png"]\n'


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    save_pictures(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_a_spec_from_standard_input(desk: Path) -> None:
    assert call(*RUN, "--save-spec", "spec.toml").code == 0
    words = [sys.executable, "-m", "impasto", "show", "/dev/stdin", "--toml"]
    text = (desk / "spec.toml").read_text()
    ended = subprocess.run(words, input=text, capture_output=True, text=True, timeout=300, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, text, "")
    assert call("show", "none.toml").err == "impasto: there is no file none.toml\n"


def test_a_result_from_standard_input(desk: Path) -> None:
    """Its content is read once; a damaged one is said to be that."""
    save_image(example("red-panda", (16, 16)), desk / "result.png", settings=SPEC)
    content = (desk / "result.png").read_bytes()
    words = [sys.executable, "-m", "impasto", "show", "/dev/stdin", "--toml"]
    ended = subprocess.run(words, input=content, capture_output=True, timeout=300, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, SPEC.encode(), b"")
    (desk / "damaged.png").write_bytes(content[:40])
    ended = call("show", "damaged.png")
    assert (ended.code, ended.err.partition("damaged: ")[0]) == (2, "impasto: damaged.png cannot be read: the PNG is ")


def test_a_list_with_tabs(desk: Path) -> None:
    (desk / "list.tsv").write_text("content\tstyle\tname\nphoto.png\tpainting.png\tone, two\n".replace(", two", ""))
    (entry,) = find_entries(desk / "list.tsv", None, "transfer")
    assert (entry.name, entry.pictures) == ("one", (desk / "photo.png", desk / "painting.png"))


@pytest.mark.parametrize(("locked", "name"), [("pictures", "pictures"), ("below", "pictures/below")])
def test_a_locked_folder(desk: Path, locked: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (desk / "pictures" / "below").mkdir(parents=True)
    scan = os.scandir

    def refusing(path: Any) -> Any:
        if Path(path).name == locked:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refusing)
    for words in (("batch", "pictures", "--recipe", "invert"), ("normalise", "pictures", "-o", "m.safetensors")):
        ended = call(*words)
        assert (ended.code, ended.err) == (1, f"impasto: {name} cannot be read: Permission denied\n")


@pytest.mark.slow
def test_a_symbolic_link_for_the_results(desk: Path) -> None:
    """A link to a folder stands for that folder; one to nothing is refused in words that say so."""
    (desk / "disk").mkdir()
    (desk / "link").symlink_to("disk")
    assert call(*RUN, "-q", "-o", "link").code == 0
    assert call(*RUN, "-q", "--force", "-o", "link").out == "link\n"
    assert (desk / "link").is_symlink()
    assert (desk / "disk" / "result.png").is_file()
    (desk / "nowhere").symlink_to("none")
    for words in ((), ("--force",)):
        ended = call(*RUN, *words, "-o", "nowhere")
        assert (ended.code, ended.out) == (1, "")
        assert ended.err == "impasto: nowhere is a symbolic link to nothing; remove it, or name another folder\n"


def test_wrong_kinds_of_values(desk: Path) -> None:
    (desk / "spec.toml").write_text('task = "invert"\npictures = [1]\n')
    words = "impasto: spec.toml: pictures has 1; each picture is the name of a file, in quotes\n"
    assert (call("run", "spec.toml").code, call("run", "spec.toml").err) == (2, words)
    (desk / "spec.toml").write_text('task = "invert"\npictures = ["photo.png"]\n[settings]\nweights = 1\n')
    assert call("show", "spec.toml").err == "impasto: spec.toml: weights is 1; it must be the name of a file\n"


HOSTILE = "[red]a[_red]\n\x1b[31m\u202eb\u200d:smile:"


def test_names_that_would_act_on_a_terminal(desk: Path) -> None:
    """Control characters are escapes in sentences and dashes in a default folder's name; brackets are no markup."""
    (desk / "photo.png").rename(desk / f"{HOSTILE}.png")
    ended = call(*(word.replace("photo", HOSTILE) for word in RUN), "-q")
    assert (ended.code, ended.out, ended.err) == (0, "runs/invert-[red]a[_red]--[31m-b\u200d:smile:\n", "")
    shown = "[red]a[_red]\\n\\x1b[31m\\u202eb\u200d:smile:"
    assert call("show", f"{HOSTILE}.toml").err == f"impasto: there is no file {shown}.toml\n"
    assert f"{shown}.png" in call("show", ended.out.strip()).out


def test_brackets_are_no_markup(desk: Path) -> None:
    (desk / "spec.toml").write_text('task = "invert"\npictures = ["[/x].png"]\n')
    ended = call("show", "spec.toml")
    assert ended.code == 0
    assert "[/x].png" in ended.out
