"""Units: their responses, the parameterisations and views by which they are seen, and the tasks that show them."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from command import call, save_pictures
from conftest import example, make_tiny, random_image
from impasto.errors import ImageError, InterruptedRunError, LayerError, SpecError, WeightsError
from impasto.events import Event, Notice
from impasto.folders.names import PATCHES, PATCHES_FILE
from impasto.folders.records import read_run
from impasto.folders.specfiles import located, read_spec
from impasto.images.curves import upright
from impasto.images.files import load_image, save_image
from impasto.images.noise import noise_picture
from impasto.networks.catalogue import open_network
from impasto.networks.network import Network
from impasto.objectives.objective import content, towards
from impasto.pages.run_page import run_page
from impasto.runs.start import resume, run
from impasto.synthesis.composition import Composition
from impasto.synthesis.loop import synthesise
from impasto.synthesis.optimisers import adam
from impasto.synthesis.parameterisations import Parameterisation
from impasto.synthesis.schedules import single
from impasto.tasks.recipes import dream
from impasto.tasks.seeing import DreamSettings, MaximiseSettings, Units
from impasto.tasks.spec import RunSpec
from impasto.tasks.table import make_settings
from impasto.tiles.criterion import bind_tiled
from impasto.units.answers import energy, variation
from impasto.units.compositions import OnTopOf, read_direction, views
from impasto.units.natural import Faint, Natural, Phases
from impasto.units.patches import Album, strongest
from impasto.units.responses import Channel, Direction, Everything, Exaggeration, Unit
from impasto.units.spectrum import WINDOW_PX, Spectrum, measured, photographic
from impasto.units.views import Seen, Shifted

SIZES = [(32, 48), (33, 47), (20, 20)]


MODULE = """
import torch
from torch import nn


def make():
    torch.manual_seed(3)
    first = nn.Conv2d(3, 6, 3, padding=1)
    first.weight.data[0] = torch.tensor([1.0, -0.5, -0.5])[:, None, None].expand(3, 3, 3) / 9  # finds red
    first.bias.data[0] = 0.0
    layers = [first, nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))
"""


def small() -> nn.Sequential:
    """A small classifier whose first channel finds red."""
    names: dict[str, Any] = {}
    exec(MODULE, names)
    made: nn.Sequential = names["make"]()
    return made


@pytest.fixture(scope="module")
def network() -> Network:
    return Network.from_module(small(), "none", name="small")


@pytest.fixture
def factory(tmp_path: Path) -> str:
    """A file whose factory makes the classifier, for whole runs."""
    (tmp_path / "mine.py").write_text(MODULE, "utf-8")
    return f"{tmp_path / 'mine.py'}:make"


# The spectrum ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [*SIZES, (300, 200), (7, 1)])
def test_amplitudes_have_mean_square_one(size: tuple[int, int]) -> None:
    """Over the whole transform, of which `rfft2` keeps half: such noise has a photograph's contrast."""
    amplitudes = photographic().at(size, torch.zeros(1, dtype=torch.float64))
    columns = np.fft.fftfreq(size[1])
    whole = torch.zeros(3, *size, dtype=torch.float64)
    for row in range(size[0]):
        for column in range(size[1]):
            mirrored = columns[column] < 0 and column > size[1] // 2
            whole[:, row, column] = amplitudes[:, -row % size[0] if mirrored else row, min(column, size[1] - column)]
    assert torch.allclose(whole.square().mean((1, 2)), torch.ones(3, dtype=torch.float64))


def test_amplitudes_fall_with_frequency_as_in_photographs() -> None:
    """Between 2 and 20 cycles in 128 px the amplitudes of photographs fall about as 1 / frequency (Field 1987)."""
    amplitude = photographic().amplitude[0]
    for line in (amplitude[:, 0], amplitude[0]):
        slope = math.log(float(line[20] / line[2])) / math.log(10)
        assert -1.6 < slope < -0.9


def test_colours_are_uncorrelated_and_come_back() -> None:
    spectrum, image = photographic(), 0.05 + 0.9 * random_image(9, 8)
    assert torch.allclose(spectrum.picture(spectrum.plain(image)), image)


def test_the_measured_spectrum_is_that_of_the_pictures() -> None:
    """Noise of a known spectrum and known colours: both are found, except for the scatter of 24 pictures."""
    known = photographic()
    pictures = [Faint(known, seed, 0.5)((192, 192)) for seed in range(24)]
    found = measured(pictures)
    assert torch.allclose(found.mean, known.mean, atol=0.1)
    ours, theirs = found.colours @ found.colours.T, 0.25 * known.colours @ known.colours.T
    assert torch.allclose(ours, theirs, rtol=0.15, atol=0.05)
    ratio = (found.amplitude / known.at((WINDOW_PX, WINDOW_PX), found.mean)[:, : WINDOW_PX // 2 + 1])[0, 4:40, 4:40]
    assert float(ratio.std() / ratio.mean()) < 0.15


def test_no_spectrum_without_pictures() -> None:
    with pytest.raises(ImageError, match="there is no picture"):
        measured([])
    with pytest.raises(ImageError, match="has 60 px; the spectrum takes 128 px or more"):
        measured([random_image(60, 200)])


# Parameterisations ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
def test_natural_parameters_give_the_picture_back(size: tuple[int, int]) -> None:
    natural, image = Natural(photographic()), 0.05 + 0.9 * random_image(*size)
    assert torch.allclose(natural.decode(natural.encode(image), size), image, atol=1e-6)


@pytest.mark.parametrize("size", SIZES)
def test_phases_keep_the_amplitudes_of_photographs(size: tuple[int, int]) -> None:
    spectrum = photographic()
    image = Phases(spectrum).decode(Phases(spectrum).encode(random_image(*size)), size)
    logits = image.logit() - spectrum.mean.double()[:, None, None]
    plain = torch.einsum("ij,njhw->nihw", torch.linalg.inv(spectrum.colours.double()), logits)
    inside = slice(1, (size[1] - 1) // 2 + 1)  # waves whose mirror image is not among them
    waves = torch.fft.rfft2(plain, norm="ortho").abs()[..., inside]
    assert torch.allclose(waves[0], spectrum.at(size, image)[..., inside], rtol=1e-5)


@pytest.mark.parametrize("kind", [Natural, Phases])
def test_gradients_of_parameters(kind: type[Natural]) -> None:
    parameterisation: Parameterisation = kind(photographic())
    parameters = parameterisation.encode(0.2 + 0.6 * random_image(4, 5)).requires_grad_()
    assert torch.autograd.gradcheck(lambda given: parameterisation.decode(given, (4, 5)), parameters)


# Views ----------------------------------------------------------------------------------------------------------------


def test_a_view_depends_on_its_number_and_seed_alone() -> None:
    image = random_image(24, 32)
    looks = [Seen(seed)(number)(image) for seed, number in ((1, 5), (1, 5), (1, 6), (2, 5))]
    assert torch.equal(looks[0], looks[1])
    assert not torch.equal(looks[0], looks[2])
    assert not torch.equal(looks[0], looks[3])
    torch.rand(3)
    assert torch.equal(Seen(1)(5)(image), looks[0])


def test_a_view_that_changes_nothing_is_the_picture() -> None:
    image = random_image(24, 32)
    assert torch.allclose(Seen(0, shift_px=0.0, turn=0.0, zoom=1.0)(3)(image), image, atol=1e-12)
    assert views(0, shift_px=0.0) is None


def test_views_shift_by_whole_pictures_and_turn_about_the_middle() -> None:
    """A blob in the middle of a wide picture stays there if the picture is turned: angles are those of pixels."""
    image = torch.full((1, 3, 40, 80), 0.5, dtype=torch.float64)
    image[:, :, 18:22, 30:50] = 1
    seen = Seen(3, shift_px=0.0, turn=40.0, zoom=1.0)(0)(image)[0, 0] - 0.5
    rows, columns = torch.meshgrid(torch.arange(40.0) - 19.5, torch.arange(80.0) - 39.5, indexing="ij")
    assert abs(float((seen * rows).sum() / seen.sum())) < 0.2
    assert abs(float((seen * columns).sum() / seen.sum())) < 0.2
    assert float(seen.sum()) == pytest.approx(40.0, rel=0.05)  # its area


def test_shifts_move_pixels_and_lose_none() -> None:
    image = random_image(10, 12)
    seen = Shifted(1, 4)(2)(image)
    assert not torch.equal(seen, image)
    assert torch.equal(seen.flatten().sort().values, image.flatten().sort().values)


def test_parts_seen_closer_lie_anywhere() -> None:
    """Over many views each corner of the picture is seen, and views are enlarged by up to the factor."""
    image = torch.linspace(0, 1, 64).expand(1, 3, 64, 64)
    spans = [
        float(view.max() - view.min()) for view in (Seen(0, 0.0, 0.0, 1.0, closest=4.0)(k)(image) for k in range(40))
    ]
    assert min(spans) < 0.4
    assert max(spans) > 0.8


# Responses ------------------------------------------------------------------------------------------------------------


def test_a_channel_is_its_mean_in_units_of_the_layers_variation() -> None:
    network, image = make_tiny(), random_image(32, 32)
    features = network(image, ["conv2_1"])["conv2_1"][0]
    generator = torch.Generator().manual_seed(16)
    pictures = [noise_picture(128, generator, leaves=bool(number % 2)) for number in range(4)]
    maps = [network(picture, ["conv2_1"])["conv2_1"][0].flatten(1) for picture in pictures]
    rows = torch.cat(maps, 1)
    unit = float((rows - rows.mean(1, keepdim=True)).square().mean().sqrt())
    (loss,) = towards(["conv2_1"], Channel(3)).bind(network, (32, 32)).losses(image).values()
    assert loss == pytest.approx(-float(features[3].mean()) / unit, rel=1e-6)
    (loss,) = towards(["conv2_1"], Channel(3, middle=True)).bind(network, (32, 32)).losses(image).values()
    assert loss == pytest.approx(-float(features[3, 8, 8]) / unit, rel=1e-6)


@pytest.mark.parametrize("response", [Channel(2), Direction(torch.arange(7.0) - 2), Everything()])
def test_responses_have_their_gradient_also_in_tiles(response: Channel | Direction | Everything) -> None:
    network, image = make_tiny(), random_image(32, 48, 1)
    objective = towards(["relu2_1"], response)
    losses, gradient = objective.bind(network, (32, 48)).losses_and_gradient(image)
    tiled, tiles = bind_tiled(objective, network, (32, 48), (16, 16)).losses_and_gradient(image)
    assert torch.allclose(gradient, tiles, atol=1e-12 + 1e-9 * float(gradient.abs().max()))
    assert losses == pytest.approx(tiled)
    direction = random_image(32, 48, 2) - 0.5
    ends = [objective.bind(network, (32, 48)).losses(image + step * direction) for step in (1e-5, -1e-5)]
    slope = (sum(ends[0].values()) - sum(ends[1].values())) / 2e-5
    assert float((gradient * direction).sum()) == pytest.approx(slope, rel=1e-4)


def test_a_response_at_one_place_is_not_taken_in_tiles() -> None:
    with pytest.raises(SpecError, match="leave out --tile"):
        bind_tiled(towards(["conv2_1"], Channel(0, middle=True)), make_tiny(), (32, 32), (16, 16))


def test_a_silent_unit_after_a_rectifier_still_has_a_gradient() -> None:
    module, image = small(), random_image(16, 16, 0, torch.float32)
    module[0].bias.data[0] = -5.0
    network = Network.from_module(module, "none")
    assert not network(image, ["1"])["1"][0, 0].any()
    for layer in ("1", "2"):  # the rectifier, and the pooling of its map
        _, gradient = towards([layer], Channel(0)).bind(network, (16, 16)).losses_and_gradient(image)
        assert gradient.abs().max() > 0


def test_one_more_scale_of_weights_changes_no_response(network: Network) -> None:
    """What makes defaults serve any network: a layer with numbers 1000 times as large answers alike."""
    louder = small()
    louder[0].weight.data *= 1000
    louder[0].bias.data *= 1000
    other, image = Network.from_module(louder, "none"), random_image(24, 24, 0, torch.float32)
    pairs = [towards(["0"], Channel(1)).bind(each, (24, 24)).losses(image) for each in (network, other)]
    assert pairs[0] == pytest.approx(pairs[1], rel=1e-4)
    assert variation(other, "0") == pytest.approx(1000 * variation(network, "0"), rel=1e-4)
    assert energy(other, "0") == pytest.approx(1e6 * energy(network, "0"), rel=1e-4)


def test_a_caricature_is_a_true_cosine() -> None:
    """-1 at the photo itself, twice as much for features twice as large, and by hand elsewhere."""
    target, found = torch.rand(1, 5, 3, 4) - 0.3, torch.rand(1, 5, 3, 4) - 0.3
    assert float(Exaggeration(3.0)(target, target)) == pytest.approx(-1)
    assert float(Exaggeration(3.0)(2 * target, target)) == pytest.approx(-2)
    total = 0.0
    for row in range(3):
        for column in range(4):
            one, other = found[0, :, row, column].numpy(), target[0, :, row, column].numpy()
            cosine = one @ other / np.linalg.norm(one) / np.linalg.norm(other)
            total += one @ other * max(0.1, cosine) ** 3
    by_hand = -total / float(target.square().sum())
    assert float(Exaggeration(3.0)(found, target)) == pytest.approx(by_hand, rel=1e-4)


def test_a_photos_direction_is_answered_by_the_photo() -> None:
    """The photo whose direction is taken answers more than others do."""
    network = open_network(precision="float32", device="cpu")
    photos = [example(name, (48, 48)) for name in ("red-panda", "kingfisher", "neuschwanstein-castle")]
    unit = Direction(photos[0])
    criterion = towards(["conv4_1"], unit).bind(network, (48, 48))
    answers = [-sum(criterion.losses(photo).values()) for photo in photos]
    assert answers[0] > 1.2 * max(answers[1:])


# The loop -------------------------------------------------------------------------------------------------------------


def test_photo_and_picture_are_seen_through_the_same_view(network: Network) -> None:
    """With the photo as the first picture, its own caricature is -1 in every view, so nothing of a view is a loss."""
    photo = random_image(24, 32, 1, torch.float32)
    composition = Composition(
        init=lambda size: photo,
        objective=content(photo, ["3"], distance=Exaggeration(2.0)),
        schedule=single((24, 32), 4),
        optimiser=adam(1e-9),
        views=Seen(0, shift_px=6.0, turn=20.0),
    )
    assert [iterate.loss for iterate in synthesise(composition, network)] == pytest.approx([-1] * 4, rel=1e-4)


def test_a_dream_keeps_the_photos_detail_at_every_size() -> None:
    """Without a change at the small size, the enlarged picture is the photo itself."""
    photo = random_image(40, 60, 0, torch.float32)
    enlarged = OnTopOf(photo)
    small_one = functional.interpolate(photo, (20, 30), mode="bilinear", antialias=True)
    assert enlarged(photo, (40, 60)) is photo
    found = dream(photo, DreamSettings(size=60, smallest=30)).enlarged(small_one, (40, 60))
    assert torch.allclose(found, photo, atol=0.2)
    assert (found - photo).abs().mean() < 0.2 * (photo - 0.5).abs().mean()


def test_a_dream_keeps_what_darkens_and_what_lightens_at_every_size() -> None:
    photo = torch.full((1, 3, 24, 24), 0.5)
    for painted in (0.2, 0.8):
        found = OnTopOf(photo)(torch.full((1, 3, 16, 16), painted), (24, 24))
        torch.testing.assert_close(found, torch.full((1, 3, 24, 24), painted))


# Settings -------------------------------------------------------------------------------------------------------------


def test_units_are_numbers_and_ranges() -> None:
    assert Units("12,40, 3-5,4").numbers == [12, 40, 3, 4, 5]
    for wrong in ("", "x", "-3", "5-2", "1,,2", "1.5", "²"):
        with pytest.raises(SpecError, match="names no units; write numbers from 0 upwards"):
            Units(wrong)
    with pytest.raises(SpecError, match="more than 1000 units"):
        Units("0-99999")


def test_units_name_parts_and_layers() -> None:
    assert MaximiseSettings(channel="2,7").units == ["channel-2", "channel-7"]
    assert MaximiseSettings(classes="387").where == "@classes"
    with pytest.raises(SpecError, match="--channel and --neuron are both given"):
        make_settings("maximise", channel="1", neuron="2")
    with pytest.raises(SpecError, match="lbfgs needs the same picture in each step"):
        make_settings("maximise", optimiser="lbfgs")
    assert make_settings("maximise", optimiser="lbfgs", shift=0, turn=0, zoom=1).optimiser == "lbfgs"


QUIET = """
import torch
from torch import nn


def make(function=nn.ReLU6, bias=-0.8):
    torch.manual_seed(3)
    first = nn.Conv2d(3, 6, 3, padding=1)
    first.bias.data[0] = bias
    return nn.Sequential(first, function())


def plain():
    return make(nn.ReLU, -100.0)
"""


# Runs -----------------------------------------------------------------------------------------------------------------


def spec_of(factory: str, **values: object) -> RunSpec:
    given = {"network": factory, "layer": "3", "size": 32, "steps": 6, "frames": 0, **values}
    return RunSpec(task="maximise", pictures=(), settings=make_settings("maximise", **given))


def test_a_run_of_several_units_with_photos(tmp_path: Path, factory: str) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(4):
        save_image(random_image(40, 40, number, torch.float32), folder / f"{number}.png")
    (folder / "broken.png").write_bytes(b"no picture")
    out = run(spec_of(factory, channel="1,5", photos=folder, patches=2), tmp_path / "out")
    record = read_run(out)
    assert record.planned == ("channel-1", "channel-5")
    first = record.parts[0].summary
    assert first is not None
    assert first.metrics.response == pytest.approx(-next(iter(first.losses.values())), rel=0.01)
    assert -record.parts[0].lines[-1].total > -record.parts[0].lines[0].total
    found = json.loads((out / "channel-1" / PATCHES_FILE).read_text("utf-8"))
    assert [each["response"] for each in found] == sorted((each["response"] for each in found), reverse=True)
    assert len(found) == 2
    assert (out / "channel-5" / PATCHES).is_file()
    page = run_page(record)
    assert "Beside photos" in page
    assert "Unit by unit" in page
    assert located(read_spec(out))[1] == []
    (folder / "broken.png").write_bytes(b"still no picture")
    assert located(read_spec(out))[1] == [f"the photos in {folder} have changed since that run"]


def test_the_patch_is_where_the_answer_comes_from(tmp_path: Path, network: Network) -> None:
    """Grey photos, one with a red square: it is the strongest, and its patch is around the square."""
    for number in range(3):
        photo = torch.full((1, 3, 64, 64), 0.3)
        if number == 1:
            photo[:, 0, 40:44, 12:16] = 1.0
        save_image(photo, tmp_path / f"{number}.png")
    album = Album(tmp_path, 2, 64)
    unit = Unit("1", Channel(0))
    (patches,) = strongest(network, [unit], album.files(), album).values()
    assert patches[0].file.name == "1.png"
    assert patches[0].response > patches[1].response
    assert max(patches[0].image.shape[2:]) <= 32
    assert float(patches[0].image[:, 0].max()) > 0.9


@pytest.mark.parametrize(
    "options", [{}, {"parameterisation": "phases", "closest": 3.0}, {"optimiser": "adam", "turn": 0}]
)
def test_a_stopped_run_goes_on_with_the_same_views(tmp_path: Path, factory: str, options: dict[str, object]) -> None:
    spec = spec_of(factory, channel="2", **options)
    whole = run(spec, tmp_path / "whole")
    asked = iter([False] * 4 + [True] * 100)
    with pytest.raises(InterruptedRunError):
        run(spec, tmp_path / "parts", stop=lambda: next(asked))
    resume(tmp_path / "parts")
    assert torch.equal(load_image(whole / "result.png"), load_image(tmp_path / "parts" / "result.png"))
    losses = [[line.total for line in read_run(folder).parts[0].lines] for folder in (whole, tmp_path / "parts")]
    assert losses[0] == losses[1]


def test_caricature_and_dream_run_from_the_command_line(tmp_path: Path, factory: str) -> None:
    save_pictures(tmp_path)
    for task in ("caricature", "dream"):
        options = ["--network", factory, "--layer", "3", "--size", "64", "--steps", "3", "--frames", "0"]
        ended = call(task, tmp_path / "photo.png", *options, "--out", tmp_path / task)
        assert ended.code == 0, ended.err
        lines = read_run(tmp_path / task).parts[0].lines
        assert lines[-1].total < lines[0].total


def test_classes_of_a_network_that_has_them(tmp_path: Path, factory: str) -> None:
    record = read_run(run(spec_of(factory, classes="3"), tmp_path / "out"))
    assert record.parts[0].lines[0].losses.keys() == {"response/@classes"}
    assert record.provenance["layers"] == {"@classes": "7"}


@pytest.mark.slow
def test_a_unit_that_stays_silent_is_reported_with_a_remedy(tmp_path: Path) -> None:
    """After ReLU6 the gradient is 0 and nothing helps; in the layer before, the same unit answers."""
    (tmp_path / "quiet.py").write_text(QUIET)
    said = list[Event]()

    def notices(name: str, factory: str = "make", **values: Any) -> list[str]:
        said.clear()
        run(spec_of(f"{tmp_path / 'quiet.py'}:{factory}", **values), tmp_path / name, listener=said.append)
        return [event.words for event in said if isinstance(event, Notice) and "silent" in event.words]

    silent = "the unit in 1 stays silent, with a response of 0.00: if 1 ends with an activation function, name"
    found = notices("after", channel="0,1", layer="1")
    assert [words.partition(silent)[:2] for words in found] == [("channel-0: ", silent)]
    assert notices("before", channel="0", layer="0", steps=60) == []
    found = notices("helped", "plain", channel="0", layer="1", steps=1)
    assert [words.rpartition(": ")[2] for words in found] == ["begin with more noise (--noise 1) or take more steps"]


def test_a_direction_from_a_file(tmp_path: Path, factory: str) -> None:
    save_file({"v": torch.arange(8.0)}, tmp_path / "v.safetensors")
    spec = spec_of(factory, direction=tmp_path / "v.safetensors")
    record = read_run(run(spec, tmp_path / "out"))
    assert len(record.provenance["direction_sha256"]) == 64
    assert "along v" in run_page(record)


def test_what_is_wrong_with_a_unit(tmp_path: Path, factory: str) -> None:
    """One sentence for each mistake, and nothing written."""
    (tmp_path / "empty").mkdir()
    save_file({"v": torch.arange(5.0)}, tmp_path / "five.safetensors")
    mistakes: list[tuple[dict[str, object], type[Exception], str]] = [
        ({"channel": "8"}, SpecError, "3 of .*mine.py:make has 8 channels, 0 to 7; there is no channel 8"),
        ({"classes": "4"}, SpecError, "7 of .* has 4 channels, 0 to 3; there is no channel 4"),
        ({"layer": "33"}, LayerError, "has no layer '33'"),
        ({"photos": tmp_path / "empty"}, ImageError, "has no photo; name a folder with pictures"),
        ({"photos": tmp_path / "nowhere"}, ImageError, "is not a folder of photos"),
        ({"direction": tmp_path / "five.safetensors"}, SpecError, "has 5 numbers, but 3 has 8 channels"),
        ({"direction": tmp_path / "nothing.png"}, ImageError, "the direction is no picture and no safetensors file"),
        ({"init": "content"}, SpecError, "init 'content' is not for this task; use noise or a file"),
        ({"size": 2}, ImageError, "2 × 2 px"),
    ]
    for values, kind, sentence in mistakes:
        with pytest.raises(kind, match=sentence):
            run(spec_of(factory, **values), tmp_path / "out")
        assert not (tmp_path / "out").exists()
    with pytest.raises(
        LayerError, match="vgg16-normalised has no classes: its last layer gives a map; use --layer pool5 --channel N"
    ):
        run(spec_of("vgg16-normalised", classes="1", layer="conv1_1"), tmp_path / "out")


@pytest.mark.parametrize(
    "content", [{"v": torch.zeros(8)}, {"v": torch.ones(2, 2)}, {"a": torch.ones(2), "b": torch.ones(2)}]
)
def test_a_file_that_holds_no_direction(tmp_path: Path, content: dict[str, Tensor]) -> None:
    save_file(content, tmp_path / "v.safetensors")
    with pytest.raises(WeightsError, match="holds no direction; save one vector"):
        read_direction(tmp_path / "v.safetensors")
    (tmp_path / "w.safetensors").write_bytes(b"nothing")
    with pytest.raises(WeightsError, match="cannot be read as a direction"):
        read_direction(tmp_path / "w.safetensors")


def test_curves_of_losses_below_0_are_drawn_with_the_other_sign() -> None:
    assert upright("response", [0.1, -1.0, -2.0]) == ("−response", [-0.1, 1.0, 2.0])
    assert upright("content", [1.0, 0.0]) == ("content", [1.0, 0.0])


def test_the_spectrum_of_a_file_is_whole() -> None:
    spectrum = photographic()
    assert isinstance(spectrum, Spectrum)
    assert spectrum.amplitude.shape == (3, 65, 65)
    assert bool((spectrum.amplitude > 0).all())


def test_a_task_without_pictures_is_repeated_but_not_batched(tmp_path: Path, factory: str) -> None:
    options = ["--network", factory, "--layer", "3", "--size", "16", "--steps", "2", "--frames", "0", "--quiet"]
    assert call("maximise", *options, "--channel", "2", "--out", tmp_path / "one").code == 0
    ended = call("run", tmp_path / "one", "--channel", "3", "--out", tmp_path / "two", "--quiet")
    assert ended.code == 0, ended.err
    assert read_run(tmp_path / "two").spec.settings.units == ["channel-3"]
    ended = call("batch", tmp_path, "--recipe", "maximise")
    assert ended.code == 2
    assert "maximise takes no picture, so there is nothing to batch" in ended.err
