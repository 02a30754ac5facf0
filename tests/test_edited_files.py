"""A file that was edited is another file, whatever names it: masks, palettes, first pictures, weights, code."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image as PillowImage
from PIL import ImageOps

from command import StopAfter, call, save_pictures
from conftest import CLASSIC_WORDS
from impasto.errors import InterruptedRunError
from impasto.folders.named import as_provenance, files_of, hash_files, is_unchanged, known_hashes
from impasto.folders.specfiles import spec_toml
from impasto.runs.start import run
from impasto.series.members import folder_state
from impasto.tasks.presets import preset
from impasto.tasks.settings import InvertSettings
from impasto.tasks.spec import Change, RunSpec

QUICK = [
    "--size",
    "48",
    "--smallest",
    "48",
    "--steps",
    "1",
    "--frames",
    "0",
    "--precision",
    "float32",
    "--threads",
    "1",
]
QUICK += ["--style-layers", "relu1_1", "--content-layers", "relu2_1", *CLASSIC_WORDS]
PAIR = ["photo.png", "painting.png"]
MODULE = """
from torch import nn

def small():
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU())
"""


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """photo.png and painting.png; mask.png, part.png, palette.png and first.png; small.py with weights.pt."""
    monkeypatch.chdir(tmp_path)
    save_pictures(tmp_path)
    for name in ("mask.png", "part.png", "later.png"):
        mask = PillowImage.new("L", (64, 48), 0)
        mask.paste(255, (0, 0, 64, 24))
        mask.save(name)
    for name in ("palette.png", "first.png", "other.png"):
        PillowImage.open("painting.png").save(name)
    (tmp_path / "small.py").write_text(MODULE, "utf-8")
    names: dict[str, Callable[[], torch.nn.Module]] = {}
    exec(MODULE, names)
    torch.save(names["small"]().state_dict(), "weights.pt")
    return tmp_path


def edit(name: str) -> None:
    """Another file of the same kind under the same name."""
    path = Path(name)
    if path.suffix == ".py":
        path.write_text(f"{MODULE}\n# edited\n", "utf-8")
    elif path.suffix == ".pt":
        tensors = torch.load(path, weights_only=True)
        torch.save({key: value * 0.5 for key, value in tensors.items()}, path)
    else:
        ImageOps.flip(PillowImage.open(path)).save(path)


def everything() -> RunSpec:
    """A spec that names a file wherever a transfer can."""
    settings = preset(
        "transfer",
        "default",
        init="first.png",
        weights="weights.pt",
        network="small.py:small",
        colours="palette=palette.png",
        region=["mask.png=other.png,from=part.png"],
        style_layers="1",
        content_layers="3",
        neighbour_layers="3",
        layout_layers="3",
    )
    change = Change(step=1, settings={"region": ["later.png=other.png"]})
    return RunSpec(task="transfer", pictures=tuple(map(Path, PAIR)), settings=settings, changes=(change,))


NAMED = [*PAIR, "mask.png", "other.png", "part.png", "later.png", "weights.pt", "first.png", "palette.png", "small.py"]


@pytest.mark.parametrize("name", NAMED)
def test_every_file_that_a_spec_names_counts(name: str, desk: Path) -> None:
    spec = everything()
    assert set(files_of(spec)) == set(map(Path, NAMED))
    before = hash_files([spec])
    known = as_provenance(spec, before)
    assert known_hashes(spec, known) == before
    assert is_unchanged(spec, hash_files([spec]), known)
    edit(name)
    assert not is_unchanged(spec, hash_files([spec]), known)


def test_pictures_may_have_moved(desk: Path) -> None:
    spec = everything()
    known = as_provenance(spec, hash_files([spec]))
    Path("photo.png").rename("moved.png")
    moved = spec.model_copy(update={"pictures": (Path("moved.png"), Path("painting.png"))})
    assert is_unchanged(moved, hash_files([moved]), known)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["explore", *PAIR, "--strengths", "1", "--strokes", "0.7,1", "--region", "mask.png=photo"], "mask.png"),
        (
            ["explore", *PAIR, "--strengths", "1", "--strokes", "0.7,1", "--colours", "palette=palette.png"],
            "palette.png",
        ),
        (["batch", "photo.png", "--styles", "painting.png", "--region", "mask.png=other.png"], "mask.png"),
        (["batch", "photo.png", "--styles", "painting.png", "--colours", "palette=palette.png"], "palette.png"),
    ],
)
def test_several_runs_notice_an_edited_file(words: list[str], name: str, desk: Path) -> None:
    words = [*words, *QUICK, "-o", "out"]
    assert call(*words).code == 0
    assert call(*words).code == 0  # nothing is left to do
    edit(name)
    ended = call(*words)
    assert (ended.code, "of other files or with other settings" in ended.err) == (1, True), ended.err
    assert "--force" in ended.err
    assert call(*words, "--force").code == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["weights.pt", "small.py", "first.png"])
def test_a_sweep_notices_an_edited_file(name: str, desk: Path) -> None:
    words = ["invert", "photo.png", "--network", "small.py:small", "--weights", "weights.pt", "--init", "first.png"]
    words += ["--preprocess", "imagenet", "--layer", "1", "--size", "32", "--steps", "1", "--save-spec", "spec.toml"]
    assert call(*words).code == 0
    sweep = ["sweep", "spec.toml", "--vary", "seed=1,2", "-o", "out"]
    assert call(*sweep).code == 0
    assert "run 1 of 2" not in call(*sweep).err
    edit(name)
    ended = call(*sweep)
    assert (ended.code, "of other files or with other settings" in ended.err) == (1, True), ended.err


@pytest.mark.slow
def test_a_sweep_notices_other_photos(desk: Path) -> None:
    """The page shows the photos that each unit answers to most."""
    Path("photos").mkdir()
    Path("photo.png").rename("photos/one.png")
    words = ["maximise", "--network", "small.py:small", "--weights", "weights.pt", "--preprocess", "imagenet"]
    words += ["--layer", "1", "--channel", "2", "--size", "32", "--steps", "1", "--photos", "photos"]
    assert call(*words, "--save-spec", "spec.toml").code == 0
    sweep = ["sweep", "spec.toml", "--vary", "seed=1,2", "-o", "out"]
    for _ in range(2):
        ended = call(*sweep)
        assert ended.code == 0, ended.err
    Path("painting.png").rename("photos/two.png")
    ended = call(*sweep)
    assert (ended.code, "of other files or with other settings" in ended.err) == (1, True), ended.err


@pytest.mark.slow
def test_values_of_a_sweep_may_be_files(desk: Path) -> None:
    """Those of the spec itself need not be among them, and a run that is done stays if its file is gone."""
    assert call("transfer", *PAIR, *QUICK, "--region", "part.png=photo", "--save-spec", "spec.toml").code == 0
    PillowImage.open("mask.png").resize((32, 24)).save("half.png")
    one = ["sweep", "spec.toml", "--vary", "region=mask.png=photo", "-o", "out"]
    two = ["sweep", "spec.toml", "--vary", "region=mask.png=photo;half.png=photo", "-o", "two"]
    assert call(*one).code == 0
    ended = call(*two)
    assert ended.code == 0, ended.err
    edit("half.png")
    ended = call(*two)
    assert (ended.code, "of other files or with other settings" in ended.err) == (1, True), ended.err
    Path("half.png").unlink()
    assert call(*two).code == 0


@pytest.mark.slow
def test_a_batch_that_is_done_stays_if_its_mask_is_gone(desk: Path) -> None:
    words = ["batch", "photo.png", "--styles", "painting.png", "--region", "mask.png=other.png", *QUICK, "-o", "out"]
    assert call(*words).code == 0
    Path("mask.png").unlink()
    ended = call(*words)
    assert ended.code == 0, ended.err


def test_where_a_file_lies_does_not_count(desk: Path) -> None:
    """A file is the same under an absolute path, and after its folder was moved."""
    old, new = desk / "old", desk / "new"
    old.mkdir()
    for name in ("mask.png", "other.png", "palette.png", "first.png"):
        Path(name).rename(old / name)

    def given(folder: Path) -> RunSpec:
        files = {"init": str(folder / "first.png"), "colours": f"palette={folder / 'palette.png'}"}
        files["region"] = [f"{folder / 'mask.png'}={folder / 'other.png'}"]
        return RunSpec(
            task="transfer", pictures=tuple(map(Path, PAIR)), settings=preset("transfer", "default", **files)
        )

    Path("run").mkdir()
    known = as_provenance(given(old), hash_files([given(old)]))
    Path("run/run.toml").write_text(spec_toml(given(old), {"provenance": known}), "utf-8")
    assert folder_state(given(Path("old")), Path("run"), hash_files([given(Path("old"))])) == "begun"
    old.rename(new)
    assert folder_state(given(new), Path("run"), hash_files([given(new)])) == "begun"
    edit("new/palette.png")
    assert folder_state(given(new), Path("run"), hash_files([given(new)])) == "other"


def test_the_spelling_of_a_region_does_not_count(desk: Path) -> None:
    """A run that is continued has its paths written anew."""
    texts = (
        "mask.png=./other.png, strength=0.5",
        "mask.png=other.png,strength=0.5",
        r"mask.png=a\,b.png",
        "mask.png=a,b.png",
    )
    settings = [preset("transfer", "default", region=[text]) for text in texts]
    given = [RunSpec(task="transfer", pictures=tuple(map(Path, PAIR)), settings=each) for each in settings]
    hashes = hash_files(given)
    Path("run").mkdir()
    for one, other, state in ((0, 1, "begun"), (1, 0, "begun"), (2, 3, "begun"), (3, 0, "other")):
        provenance = {"provenance": as_provenance(given[other], hashes)}
        Path("run/run.toml").write_text(spec_toml(given[other], provenance), "utf-8")
        assert folder_state(given[one], Path("run"), hashes) == state


@pytest.mark.slow
def test_a_link_inside_a_folder_that_is_replaced(desk: Path) -> None:
    words = ["transfer", *PAIR, *QUICK, "-o", "out"]
    assert call(*words).code == 0
    Path("out/link.png").symlink_to(desk / "mask.png")
    ended = call(*words, "--region", "out/link.png=photo", "--force")
    assert (ended.code, "out holds out/link.png, which this run reads" in ended.err) == (1, True), ended.err
    assert Path("out/link.png").is_symlink()


@pytest.mark.slow
def test_palettes_of_a_list_lie_beside_the_list(desk: Path) -> None:
    Path("list").mkdir()
    for name in (*PAIR, "palette.png"):
        Path(name).rename(f"list/{name}")
    Path("list/runs.csv").write_text("content,style,colours\nphoto.png,painting.png,palette=palette.png\n", "utf-8")
    ended = call("batch", "list/runs.csv", *QUICK, "-o", "out")
    assert ended.code == 0, ended.err


@pytest.mark.slow
def test_an_enlargement_notices_an_edited_mask(desk: Path) -> None:
    assert call("transfer", *PAIR, *QUICK, "--region", "mask.png=other.png", "-o", "small").code == 0
    larger = ["enlarge", "small", "--size", "72", "--steps", "1", "-o", "large"]
    assert call(*larger).code == 0
    Path("elsewhere").mkdir()
    Path("mask.png").rename("elsewhere/its.png")
    assert "there is no file mask.png" in call(*larger).err
    assert call(*larger, "--pictures", "elsewhere").code == 0
    Path("elsewhere/its.png").rename("mask.png")
    edit("mask.png")
    ended = call(*larger)
    assert (ended.code, "mask.png has changed since that run" in ended.err) == (1, True), ended.err


@pytest.mark.slow
def test_a_module_with_weights_of_its_own_resumes(desk: Path) -> None:
    """run.toml knows the hash of the module's tensors, and that of the file."""
    settings = InvertSettings(
        network="small.py:small",
        weights=Path("weights.pt"),
        preprocess="imagenet",
        layer="1",
        size=32,
        steps=3,
        frames=0,
    )
    spec, stop = RunSpec(task="invert", pictures=(Path("photo.png"),), settings=settings), StopAfter(1)
    with pytest.raises(InterruptedRunError):
        run(spec, Path("out"), stop=stop, recorders=[stop])
    ended = call("resume", "out")
    assert ended.code == 0, ended.err
    repeated = call("run", "out/run.toml", "-o", "again")
    assert (repeated.code, "has changed" in repeated.err) == (0, False), repeated.err
    edit("weights.pt")
    assert "weights.pt has changed since that run" in call("run", "out/run.toml", "-o", "third").err


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mask.png", "palette.png"])
def test_files_inside_a_folder_that_is_replaced(name: str, desk: Path) -> None:
    """A mask that lies in the folder of an earlier run is not lost with that run."""
    words = ["transfer", *PAIR, *QUICK, "-o", "out"]
    assert call(*words).code == 0
    Path(name).rename(f"out/{name}")
    region = ["--region", "out/mask.png=photo"] if name == "mask.png" else ["--colours", "palette=out/palette.png"]
    ended = call(*words, *region, "--force")
    assert (ended.code, f"out holds out/{name}, which this run reads" in ended.err) == (1, True), ended.err
    assert Path("out", name).is_file()


@pytest.mark.slow
def test_folders_with_commas_and_equals_signs(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of regions are written back with the folder, whatever its name is: by batches, and in saved specs."""
    odd = desk / "size=2,three"
    odd.mkdir()
    for name in (*PAIR, "mask.png", "other.png"):
        Path(name).rename(odd / name)
    monkeypatch.chdir(odd)
    words = ["--region", "mask.png = other.png, strength=0.5", *QUICK]
    assert call("batch", "photo.png", "--styles", "painting.png", *words, "-o", "all").code == 0
    assert call("transfer", *PAIR, *words, "--save-spec", "../spec.toml").code == 0
    monkeypatch.chdir(desk)
    ended = call("run", "spec.toml", "-o", "out")
    assert ended.code == 0, ended.err
