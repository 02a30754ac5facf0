"""The table of tasks: each row is complete, and a new row is a new task for all readers of the table."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

from command import call, save_pictures
from conftest import CLASSIC, random_image
from impasto.batch.inputs import find_entries
from impasto.cli.app import app
from impasto.errors import LayerError, SpecError
from impasto.folders.records import read_run
from impasto.folders.specfiles import parse_spec, spec_toml
from impasto.images.image import Picture
from impasto.pages.run_page import run_page
from impasto.runs.prepare import prepare
from impasto.runs.start import run
from impasto.tasks.formulas import Formula
from impasto.tasks.parts import Part
from impasto.tasks.recipes import reconstruct
from impasto.tasks.settings import InvertSettings, ReconstructSettings
from impasto.tasks.spec import RunSpec, compose, part_names
from impasto.tasks.table import STYLE, TASKS, Role, Task, make_settings, part_title

SOURCE = Path(__file__).parents[1] / "src" / "impasto"
NAMES = ["castle", "cafe", "church"]


@dataclass(frozen=True)
class Case:
    """What the table says of a task, written down by hand."""

    roles: list[str]
    parts: list[str]
    title: str
    has_content: bool = True


EXPECTED = {
    "invert": Case(["original"], [""], "What conv4_1 keeps of castle"),
    "reconstruct": Case(
        ["original"], ["conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1"], "What each layer keeps of castle"
    ),
    "amalgamate": Case(
        ["content", "style"], ["conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1"], "castle, imprinted on cafe"
    ),
    "texture": Case(["style"], [""], "The texture of castle", has_content=False),
    "transfer": Case(["content", "style"], [""], "castle, in the style of cafe"),
    "maximise": Case([], [""], "What channel 0 answers to at conv4_1", has_content=False),
    "caricature": Case(["original"], [""], "castle, as conv4_1 exaggerates it"),
    "dream": Case(["original"], [""], "castle, as conv4_3 dreams on it"),
}


def spec_of(task: str, **values: object) -> RunSpec:
    files = tuple(Path(f"{number}.png") for number in range(TASKS[task].least))
    return RunSpec(task=task, pictures=files, settings=make_settings(task, **values))


# Rows ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS)
def test_a_row_says_what_it_should(task: str) -> None:
    row, case = TASKS[task], EXPECTED[task]
    assert row.name == task
    assert row.least <= row.most
    assert row.roles_of(row.least) == case.roles
    assert row.has_content == case.has_content
    assert part_names(spec_of(task)) == case.parts
    assert row.title(make_settings(task), NAMES[: row.least]) == case.title


@pytest.mark.parametrize("task", TASKS)
def test_a_row_has_a_recipe_that_makes_its_parts(task: str) -> None:
    spec = spec_of(task, size=32)
    pictures = [Picture(random_image(24, 32, number, torch.float32)) for number in range(len(spec.pictures))]
    made = compose(spec, pictures)
    assert [part.name for part in made] == part_names(spec)
    named = set(spec.settings.named_layers)
    assert set().union(*(part.composition.objective.layers() for part in made)) == named
    assert all(set(part.content_layers) <= named for part in made)
    assert any(part.content_layers for part in made) == TASKS[task].has_content


@pytest.mark.parametrize("task", TASKS)
def test_a_row_has_a_command_and_a_formula(task: str) -> None:
    ended = call(task, "--help")
    assert ended.code == 0
    assert app[task].default_command.__annotations__["settings"].__args__[0] is TASKS[task].settings
    formula = TASKS[task].formula(make_settings(task), NAMES[: TASKS[task].least])
    assert formula.lead.endswith(".")
    assert "(x)" in formula.loss
    assert all(symbol.endswith(".") for symbol in formula.symbols)
    assert any(symbol.startswith("Φ") for symbol in formula.symbols)


@pytest.mark.parametrize(
    ("task", "values", "formula"),
    [
        (
            "texture",
            {"statistics": "gram"},
            "Σ<sub>l</sub> v<sub>l</sub> · D(G<sub>l</sub>(x), G<sub>l</sub>(original))",
        ),
        ("texture", {}, "Σ<sub>l</sub> v<sub>l</sub> · W(N<sub>l</sub>(x), N<sub>l</sub>(original))"),
        (
            "transfer",
            {"statistics": "moments", "smoothness": 0, **CLASSIC},
            "Σ<sub>l</sub> w<sub>l</sub> · D(Φ<sub>l</sub>(x), Φ<sub>l</sub>(photo)) + Σ over paintings of "
            "Σ<sub>l</sub> v<sub>l</sub> · D(M<sub>l</sub>(x), M<sub>l</sub>(painting))",
        ),
        (
            "transfer",
            {"statistics": "sliced", "content_weight": 0},
            "layout · Σ<sub>l</sub> D(S<sub>l</sub>(x), S<sub>l</sub>(photo)) + Σ over paintings of Σ<sub>l</sub> "
            "v<sub>l</sub> · W(H<sub>l</sub>(x), H<sub>l</sub>(painting)) + neighbours · Σ<sub>l</sub> mean of "
            "1 − cos(Φ<sub>l</sub>(x), T<sub>l</sub>) + smoothness · TV(x)",
        ),
    ],
)
def test_formulas_follow_the_settings(task: str, values: dict[str, object], formula: str) -> None:
    assert TASKS[task].formula(make_settings(task, **values), NAMES).loss == formula


def test_several_styles_are_numbered() -> None:
    assert TASKS["transfer"].roles_of(4) == ["content", "style 1", "style 2", "style 3"]


def test_parts_of_several_layers() -> None:
    names = part_names(spec_of("texture", layers="relu1_1,relu2_1=3,pool2", cumulative=True))
    assert names == ["relu1_1", "to-relu2_1", "to-pool2"]
    assert [part_title(name) for name in ["", *names]] == ["", "relu1_1", "up to relu2_1", "up to pool2"]


def test_only_the_table_and_the_commands_name_tasks() -> None:
    """Not even a page: what differs between tasks is a fact of the table."""
    allowed = {"tasks/table.py", "tasks/presets.py", "cli/app.py", "cli/many.py", "study/plan.py", "series/explore.py"}
    pages = ("painting", "exploring", "regions", "understanding", "gallery")
    allowed |= {"desk/desk.py", *(f"studio/{page}.py" for page in pages)}  # the studio's commands, and their words
    for path in sorted({*SOURCE.rglob("*.py"), *SOURCE.rglob("*.html")}):
        text = path.read_text("utf-8")
        if str(path.relative_to(SOURCE)) not in allowed:
            assert not [task for task in TASKS if f'"{task}"' in text], path


# One more row --------------------------------------------------------------------------------------------------------


def test_one_more_row_is_one_more_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Painted, read back, shown on a page, and known to lists and specs."""

    class EchoSettings(ReconstructSettings):
        """Settings of the new task."""

        again: int = 2

    def echoed(settings: EchoSettings, pictures: Sequence[Picture], names: list[str]) -> list[Part]:
        layer = settings.layers.names[0]
        return [Part(name, reconstruct(pictures[0].image, layer, settings), (layer,)) for name in names]

    row = Task(
        name="echo",
        settings=EchoSettings,
        roles=(Role("content", "voice"),),
        most=1,
        recipe=lambda: echoed,
        part_names=lambda settings: [f"echo-{number}" for number in range(settings.again)],
        title=lambda settings, names: f"{settings.again} echoes of {names[0]}",
        formula=lambda settings, names: Formula("It comes back.", "E(x)", ("E: the echo.",)),
    )
    monkeypatch.setitem(TASKS, "echo", row)
    save_pictures(tmp_path)
    settings = make_settings("echo", layers="conv1_1", size=32, steps=1, frames=0, again=2)
    spec = RunSpec(task="echo", pictures=(tmp_path / "photo.png",), settings=settings)
    record = read_run(run(spec, tmp_path / "out"))
    assert (record.status, record.planned) == ("done", ("echo-0", "echo-1"))
    assert [picture.role for picture in record.pictures] == ["voice"]
    page = run_page(record)
    assert all(words in page for words in ("2 echoes of photo", "It comes back.", "L(x) = E(x)", "E: the echo."))
    assert parse_spec(spec_toml(spec), "spec.toml")[0] == spec
    assert [pair.pictures for pair in find_entries(tmp_path / "photo.png", None, "echo")] == [spec.pictures]
    with pytest.raises(SpecError, match="there is no task 'ecko'; did you mean 'echo'"):
        make_settings("ecko")


def test_roles_say_whether_there_is_a_content() -> None:
    assert not replace(TASKS["invert"], roles=(STYLE,)).has_content


# At the door ---------------------------------------------------------------------------------------------------------

WRONG = {
    "--style-layers relu1_1=": "the weight of relu1_1 is ''; it must be a number from 0 upwards",
    "--style-layers relu1_1,,relu2_1": "a layer name is missing in 'relu1_1,,relu2_1'",
    "--content-layers relu1_1,relu1_1": "layer relu1_1 is named twice in 'relu1_1,relu1_1'",
    "--style-weights 2,1": "2 style weights are given for 1 style",
    "--style-weights much": "a style's weight is 'much'; it must be a number from 0 upwards",
    "--memory much": "memory is 'much'; write 4GB, 500MB or auto for instance",
}


@pytest.mark.parametrize("words", WRONG)
def test_what_is_wrong_is_said_before_a_picture_is_opened(words: str) -> None:
    ended = call("transfer", "nowhere.png", "neither.png", *words.split())
    assert ended.code == 2
    assert WRONG[words] in ended.err


@pytest.mark.parametrize("words", ["conv1_1=2", "conv1_1,conv2_1"])
def test_one_layer_is_asked_for(words: str) -> None:
    assert call("invert", "nowhere.png", "--layer", words).code == 2


@pytest.mark.parametrize("task", TASKS)
def test_unknown_layers_are_said_before_a_picture_is_opened(task: str) -> None:
    name = next(name for name in ("layer", "layers", "style_layers") if name in TASKS[task].settings.model_fields)
    with pytest.raises(LayerError, match="has no layer 'conv9_1'"):
        prepare(spec_of(task, **{name: "conv9_1"}), *PREPARED)


PREPARED = (None, 1.0, None)  # memory, share, crew


def test_old_files_are_read() -> None:
    """Settings in run.toml are the texts that users wrote."""
    toml = 'task = "transfer"\npictures = ["a.png", "b.png"]\n[settings]\nstyle_layers = "relu1_1, relu2_1=3"\n'
    spec, _ = parse_spec(toml, "run.toml")
    assert spec.settings.model_dump()["style_layers"] == "relu1_1, relu2_1=3"
    assert 'style_layers = "relu1_1, relu2_1=3"\n' in spec_toml(spec)
    with pytest.raises(SpecError, match=r"run\.toml: the weight of relu1_1 is 'x'"):
        parse_spec(toml.replace("relu1_1,", "relu1_1=x,"), "run.toml")


def test_modules_are_inverted_by_fourier_coefficients_unless_asked_otherwise() -> None:
    usual = InvertSettings(network="mine.py:plain")
    assert (usual.parameterisation, usual.fourier_exponent, usual.history) == ("fourier", 0.75, 100)
    asked = InvertSettings(network="mine.py:plain", parameterisation="pixels", history=5)
    assert (asked.parameterisation, asked.history) == ("pixels", 5)
    assert InvertSettings().parameterisation == "pixels"
