"""The settings: their defaults, their bounds, and the errors for wrong values."""

import pickle
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from impasto.errors import SpecError
from impasto.networks.vgg import VGG16
from impasto.tasks.settings import (
    InvertSettings,
    Settings,
    TextureSettings,
    TransferSettings,
)
from impasto.tasks.spec import RunSpec
from impasto.tasks.table import TASKS, make_settings
from impasto.tasks.values import LayerName, LayerNames, Layers, Memory, StyleWeights, parse_layers, parse_weight

PICTURES = {
    "invert": 1,
    "reconstruct": 1,
    "amalgamate": 2,
    "texture": 1,
    "transfer": 2,
    "maximise": 0,
    "caricature": 1,
    "dream": 1,
}


def pictures(count: int) -> tuple[Path, ...]:
    return tuple(Path(f"picture {number}.png") for number in range(count))


# Layers and weights in words ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "weights"),
    [
        ("conv1_1", {"conv1_1": 1.0}),
        ("conv1_1,relu2_1", {"conv1_1": 1.0, "relu2_1": 1.0}),
        (" relu1_1 = 0.5 ,\trelu2_1=2e3", {"relu1_1": 0.5, "relu2_1": 2000.0}),
        ("relu1_1=0,block1_conv1=1", {"relu1_1": 0.0, "block1_conv1": 1.0}),
    ],
)
def test_layers_in_order(text: str, weights: dict[str, float]) -> None:
    assert list(parse_layers(text).items()) == list(weights.items())


@pytest.mark.parametrize("text", ["", ",", "conv1_1,", ",conv1_1", "conv1_1,,conv2_1", "=2", " "])
def test_a_layer_is_missing(text: str) -> None:
    with pytest.raises(SpecError, match=r"a layer name is missing in '.*'; write conv1_1,conv2_1 for instance"):
        parse_layers(text)


def test_a_layer_twice() -> None:
    with pytest.raises(SpecError, match="layer conv1_1 is named twice in 'conv1_1=2,conv1_1'"):
        parse_layers("conv1_1=2,conv1_1")


@pytest.mark.parametrize("weight", ["", "-1", "-1e-9", "nan", "inf", "-inf", "heavy", "1=2", "1e999"])
def test_weights_that_are_none(weight: str) -> None:
    with pytest.raises(SpecError, match=f"the weight of conv1_1 is '{weight}'; it must be a number from 0 upwards"):
        parse_layers(f"conv1_1={weight}")
    with pytest.raises(SpecError, match=f"it is '{weight}'; it must"):
        parse_weight(weight, "it")


def test_weights_that_no_sum_could_hold() -> None:
    for text in ("1e308,1e308", "1e25", "1.1e12,1"):
        with pytest.raises(
            SpecError, match=r"a style's weight is '1.*'; 1e\+12 is the most, and only how weights compare"
        ):
            StyleWeights(text)
    with pytest.raises(SpecError, match="the weight of relu1_1 is '1e308'; "):
        Layers("relu1_1=1e308,relu2_1=1e308")
    assert StyleWeights("1e12,1e12").of(2) == [0.5, 0.5]
    for name in ("content_weight", "style_weight", "smoothness"):
        with pytest.raises(SpecError, match=f"{name} is 1e.25; it must be at most 1000000000000"):
            make_settings("transfer", **{name: 1e25})


def test_names_have_no_weights() -> None:
    assert LayerNames("conv2_1, conv1_1").names == ["conv2_1", "conv1_1"]
    with pytest.raises(SpecError, match="each layer is taken on its own"):
        LayerNames("conv2_1,conv1_1=2")
    with pytest.raises(SpecError, match="named twice"):
        LayerNames("conv1_1,conv1_1")


def test_one_layer() -> None:
    assert LayerName("conv2_1").names == ["conv2_1"]
    with pytest.raises(SpecError, match="'conv2_1,conv1_1' names 2 layers, but this setting takes one"):
        LayerName("conv2_1,conv1_1")


def test_some_layer_counts() -> None:
    assert Layers("relu1_1=0,relu2_1").weights == {"relu1_1": 0, "relu2_1": 1}
    with pytest.raises(SpecError, match="the weights of relu1_1, relu2_1 are all 0"):
        Layers("relu1_1=0,relu2_1=0")


def test_weights_of_styles() -> None:
    assert StyleWeights("").of(4) == [0.25] * 4
    assert StyleWeights("3, 1").of(2) == [0.75, 0.25]
    with pytest.raises(SpecError, match="2 style weights are given for 3 styles"):
        StyleWeights("3,1").of(3)
    with pytest.raises(SpecError, match=r"2 style weights are given for 1 style$"):
        StyleWeights("3,1").of(1)


@pytest.mark.parametrize(
    "value", [Layers("relu1_1, relu2_1=0.50"), LayerNames("b,a"), LayerName("a"), StyleWeights("2,1"), Memory("1.5GiB")]
)
def test_a_value_is_its_text(value: str) -> None:
    """In a file, in another process, and beside a text."""
    assert value == str(value)
    again = pickle.loads(pickle.dumps(value))
    assert (again, type(again), vars(again)) == (value, type(value), vars(value))


def test_memory() -> None:
    assert (Memory("auto").bytes, Memory("1.5 GB").bytes) == (None, 1.5e9)
    with pytest.raises(SpecError, match="memory is 'much'; write 4GB, 500MB or auto for instance"):
        Memory("much")


# Settings -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS)
def test_defaults_serve(task: str) -> None:
    settings = make_settings(task)
    assert type(settings) is TASKS[task].settings
    assert settings.named_layers
    assert set(settings.named_layers) <= set(VGG16.layers)


@pytest.mark.parametrize("task", TASKS)
def test_settings_survive_a_file(task: str) -> None:
    settings = make_settings(task, seed=7, weights=Path("folder/weights.safetensors"), steps=3)
    kept = settings.model_dump(mode="json", exclude_none=True)
    assert all(isinstance(value, str | int | float | bool | list) for value in kept.values())
    assert make_settings(task, **kept) == settings


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        InvertSettings().steps = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"steps": 0}, "steps is 0; it must be at least 1"),
        ({"steps": -2}, "steps is -2; it must be at least 1"),
        ({"steps": 1.5}, "steps is 1.5; it must be a whole number"),
        ({"size": 0}, "size is 0; it must be at least 1"),
        ({"size": 65537}, "size is 65537; it must be at most 65536"),
        ({"seed": -1}, "seed is -1; it must be at least 0"),
        ({"seed": 2**63}, f"seed is {2**63}; it must be less than {2**63}"),
        ({"threads": 0}, "threads is 0; it must be at least 1"),
        ({"threads": 10**6}, "threads is 1000000; it must be at most 1024"),
        ({"frames": -1}, "frames is -1; it must be at least 0"),
        ({"learning_rate": 0}, "learning_rate is 0; it must be greater than 0"),
        ({"learning_rate": float("inf")}, "learning_rate is inf; it must be a finite number"),
        ({"smoothness": -0.1}, "smoothness is -0.1; it must be at least 0"),
        ({"smoothness": float("nan")}, "smoothness is nan; it must be a finite number"),
        ({"style_weight": float("inf")}, "style_weight is inf; it must be a finite number"),
        ({"style_scale": 0}, "style_scale is 0; it must be greater than 0"),
        ({"smallest": 0}, "smallest is 0; it must be at least 1"),
        ({"optimiser": "sgd"}, "optimiser is 'sgd'; it must be 'adam', 'lbfgs' or 'lbfgs-plain'"),
        ({"pooling": "none"}, "pooling is 'none'; it must be 'max' or 'average'"),
        ({"style_wieght": 1}, "there is no setting 'style_wieght'; did you mean 'style_weight'?"),
        ({"style_layers": "relu1_1="}, "the weight of relu1_1 is ''; it must be a number from 0 upwards"),
        ({"style_layers": 5}, "style_layers is 5; it must be text"),
        ({"content_layers": ""}, "a layer name is missing in ''"),
        ({"content_layers": "relu1_1=0"}, "the weights of relu1_1 are all 0"),
        ({"style_weights": "1,much"}, "a style's weight is 'much'; it must be a number from 0 upwards"),
        ({"style_weights": "0,0"}, "the styles' weights are all 0"),
        ({"memory": "4 bits"}, "memory is '4 bits'; write 4GB, 500MB or auto for instance"),
        (
            {"content_weight": 0, "style_weight": 0, "layout": 0},
            "content_weight, layout and style_weight are all 0; at least one must be above 0",
        ),
    ],
)
def test_what_is_wrong(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SpecError) as error:
        make_settings("transfer", **values)
    assert str(error.value).startswith(sentence)
    assert "\n" not in str(error.value)


def test_unknown_task() -> None:
    with pytest.raises(SpecError, match="there is no task 'transfr'; did you mean 'transfer'"):
        make_settings("transfr")


# Runs ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS)
def test_number_of_pictures(task: str) -> None:
    settings, count = make_settings(task), PICTURES[task]
    assert RunSpec(task=task, pictures=pictures(count), settings=settings).pictures == pictures(count)
    for wrong in [*range(count - 1, count), 101 if task == "transfer" else count + 1][count == 0 :]:
        with pytest.raises(ValidationError, match=rf"{task} takes .*{count}.* pictures?, not {wrong}"):
            RunSpec(task=task, pictures=pictures(wrong), settings=settings)


def test_a_weight_for_each_style() -> None:
    settings = TransferSettings(style_weights="2,1")
    assert RunSpec(task="transfer", pictures=pictures(3), settings=settings).settings is settings
    with pytest.raises(SpecError, match=r"2 style weights are given for 1 style$"):
        RunSpec(task="transfer", pictures=pictures(2), settings=settings)


def test_several_styles() -> None:
    assert len(RunSpec(task="transfer", pictures=pictures(5), settings=TransferSettings()).pictures) == 5


@pytest.mark.parametrize("settings", [TextureSettings(), Settings()])
def test_settings_of_another_task(settings: Settings) -> None:
    with pytest.raises(ValidationError, match="are not the settings of invert"):
        RunSpec(task="invert", pictures=pictures(1), settings=settings)


def test_task_unknown_to_a_run() -> None:
    with pytest.raises(ValidationError, match="there is no task 'inverse'; did you mean 'invert'"):
        RunSpec(task="inverse", pictures=pictures(1), settings=InvertSettings())


@pytest.mark.parametrize("task", TASKS)
def test_a_run_from_plain_data(task: str) -> None:
    spec = RunSpec(task=task, pictures=pictures(PICTURES[task]), settings=make_settings(task, steps=5))
    data = spec.model_dump(mode="json")
    read = RunSpec(**{**data, "settings": spec.settings.model_dump(mode="json")})
    assert read == spec
    assert type(read.settings) is TASKS[task].settings
    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        RunSpec(**{**data, "settings": {"steps": 0}})
    with pytest.raises(ValidationError, match="colour"):
        RunSpec(**{**data, "settings": {"colour": 1}})
