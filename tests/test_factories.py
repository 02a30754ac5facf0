"""Networks by the names of factories: what a name leads to, with which weights, and the sentences for mistakes."""

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from command import call
from conftest import EXAMPLES, random_image
from impasto.errors import ImpastoError, NetworkError, SpecError, WeightsError
from impasto.modules.names import file_of, is_name_of_module, with_file
from impasto.modules.preprocess import PREPROCESSES, Preprocess
from impasto.modules.states import digest, untrain
from impasto.networks.catalogue import Choice, open_network
from impasto.networks.network import Network
from impasto.networks.vgg import VGG16
from impasto.runs.start import resume, run
from impasto.tasks.presets import preset, presets
from impasto.tasks.settings import InvertSettings, PreprocessName, ReconstructSettings, TransferSettings
from impasto.tasks.spec import RunSpec
from impasto.tasks.values import DEPTHS, Layers
from toy_modules import Residual, scrambled

FACTORIES = """
import torch
from torch import nn

import beside
from impasto import Network, Preprocess
from toy_modules import Residual, Transformer


def small():
    return nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 8, 3, stride=2, padding=1), nn.ReLU())


def gelu():
    return nn.Sequential(nn.Conv2d(3, 6, 3, stride=2), nn.GELU(), nn.Conv2d(6, 6, 3))


def residual():
    return Residual()


def transformer():
    return Transformer()


def whole():
    return Network.from_module(Residual(), Preprocess(0.5, 0.5), layers=["layer1", "layer2", "layer3"])


def raises():
    raise ValueError("no luck\\nsecond line")


def number():
    return 3


def arguments(depth, width=2):
    return nn.Sequential(nn.Conv2d(3, width, depth))


class Holder:
    module = Residual()
"""


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("desk")
    (folder / "nets.py").write_text(FACTORIES)
    (folder / "beside.py").write_text("VALUE = 1\n")
    (folder / "broken.py").write_text("import nowhere_to_be_found\n")
    return folder


def named(desk: Path, factory: str) -> str:
    return f"{desk / 'nets.py'}:{factory}"


def test_a_file_leads_to_a_module_and_may_import_its_neighbours(desk: Path) -> None:
    network = open_network(named(desk, "residual"))
    assert network.name == named(desk, "residual")
    assert network.preprocess == PREPROCESSES["imagenet"]
    assert network.precision == torch.float32
    assert "layer1.bn1" in network.layers
    assert open_network(named(desk, "Holder.module"), preprocess="half").preprocess == PREPROCESSES["half"]


def test_a_package_leads_to_a_module() -> None:
    assert open_network("toy_modules:Residual").canonical("layer3") == "layer3.relu:2"


def test_a_factory_may_return_a_whole_network(desk: Path) -> None:
    network = open_network(named(desk, "whole"))
    assert list(network.layers) == ["layer1", "layer2", "layer3"]
    with pytest.raises(SpecError, match="returns a whole network; leave out --preprocess"):
        open_network(named(desk, "whole"), preprocess="half")


def test_random_first_weights_are_the_same_each_time(desk: Path) -> None:
    before = torch.get_rng_state()
    first, second = (open_network(named(desk, "residual")).computation.module for _ in range(2))
    assert first is not None
    assert second is not None
    assert digest(first) == digest(second)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    ("factory", "words"),
    [
        ("raises", r"nets.py:raises failed with ValueError: no luck$"),
        ("number", r"nets.py:number gives int, no torch.nn.Module; write a function that returns one"),
        ("arguments", r"nets.py:arguments needs arguments \(depth\); write a function without arguments"),
        ("residul", r"nets.py has no 'residul'; did you mean 'residual'\?"),
    ],
)
def test_factories_that_lead_nowhere(desk: Path, factory: str, words: str) -> None:
    with pytest.raises(NetworkError, match=words) as raised:
        open_network(named(desk, factory))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nowhere.py:f", r"there is no file nowhere\.py"),
        ("{desk}/broken.py:f", r"broken\.py cannot be loaded: ModuleNotFoundError: No module named 'nowhere_to_be"),
        (
            "no_such_package.models:f",
            "there is no Python module 'no_such_package.models' here; give a file as file.py:",
        ),
        ("toy_modules:Nothing", "toy_modules has no 'Nothing'"),
        (":factory", "':factory' names no network; write file.py:factory or package.module:factory, for instance"),
        ("timm:resnet50", r"timm:NAME needs a package that is missing \(.*\); pip install timm"),
    ],
)
def test_names_that_lead_nowhere(desk: Path, name: str, words: str) -> None:
    with pytest.raises(NetworkError, match=words):
        open_network(name.replace("{desk}", str(desk)))


def test_names() -> None:
    assert file_of("models/net.py:make") == Path("models/net.py")
    assert file_of("package.net:make") is None
    assert with_file("net.py:Holder.make", Path("/there/net.py")) == "/there/net.py:Holder.make"
    assert is_name_of_module("timm:vit")
    assert not is_name_of_module("vgg16-normalised")


def test_options_of_the_catalogue_are_not_for_modules(desk: Path) -> None:
    for values, words in (
        ({"means": Path("m.safetensors")}, "--means is for networks of the catalogue, not for"),
        ({"pooling": "average"}, "--pooling average is for networks of the catalogue"),
        ({"weights": Path("w.pth"), "random_weights": 1}, "--random-weights gives an untrained network; leave out"),
    ):
        with pytest.raises(SpecError, match=words):
            open_network(named(desk, "residual"), **values)  # type: ignore[arg-type]
    with pytest.raises(SpecError, match="vgg16 has its own preprocessing; leave out --preprocess half"):
        open_network("vgg16", preprocess="half")


# Weights from files --------------------------------------------------------------------------------------------------


def test_weights_from_a_file_of_either_kind(tmp_path: Path) -> None:
    trained = scrambled(Residual()).float()
    torch.save(trained.state_dict(), tmp_path / "plain.pth")
    torch.save({"state_dict": trained.state_dict(), "epoch": 3}, tmp_path / "checkpoint.pt")
    save_file(trained.state_dict(), tmp_path / "weights.safetensors")
    for file in ("plain.pth", "checkpoint.pt", "weights.safetensors"):
        module = open_network("toy_modules:Residual", weights=tmp_path / file).computation.module
        assert module is not None
        assert digest(module) == digest(trained), file


def test_weights_that_do_not_fit(tmp_path: Path) -> None:
    state = Residual().state_dict()
    files = {
        "other.pth": ({**state, "fc.weight": torch.zeros(3, 3)}, "fc.weight has another shape"),
        "short.pth": ({key: value for key, value in state.items() if key != "conv1.weight"}, "conv1.weight is missing"),
        "nan.pth": (
            {**state, "fc.bias": torch.full((10,), torch.nan)},
            "some of the numbers of fc.bias are not finite",
        ),
        "list.pth": ([1, 2], "holds no table of tensors"),
    }
    for name, (content, words) in files.items():
        torch.save(content, tmp_path / name)
        with pytest.raises(WeightsError, match=words):
            open_network("toy_modules:Residual", weights=tmp_path / name)
    (tmp_path / "cut.safetensors").write_bytes(b"\0" * 50)
    (tmp_path / "cut.pth").write_bytes((tmp_path / "short.pth").read_bytes()[:2000])
    for name in ("cut.safetensors", "cut.pth"):
        with pytest.raises(WeightsError, match=f"{name} cannot be read as weights: the file is damaged") as raised:
            open_network("toy_modules:Residual", weights=tmp_path / name)
        assert "\n" not in str(raised.value)
    with pytest.raises(WeightsError, match="there is no file of weights at"):
        open_network("toy_modules:Residual", weights=tmp_path / "nothing.pth")


def test_a_module_without_numbers_is_refused(tmp_path: Path) -> None:
    (tmp_path / "meta.py").write_text(
        "from torch import nn\n\ndef make():\n    return nn.Conv2d(3, 4, 3, device='meta')\n"
    )
    with pytest.raises(NetworkError, match="has no weights, as its device is meta"):
        open_network(f"{tmp_path / 'meta.py'}:make")


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch evil",)


def test_code_in_a_file_of_weights_is_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"fc.weight": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(
        WeightsError, match="the file holds other things than tensors, such as code, which is never run"
    ):
        open_network("toy_modules:Residual", weights=tmp_path / "evil.pth")
    assert not (tmp_path / "evil").exists()


# Packages of models: small ones in place of the real, which are not needed for tests ---------------------------------

TORCHVISION = """
import torch
from toy_modules import Residual


class Weights:
    class DEFAULT:
        url = "https://example.org/models/small-1234abcd.pth"


class Inception(Residual):
    def __init__(self, transform_input: bool = False) -> None:
        assert transform_input
        super().__init__()


def small(*, weights=None, weights_backbone="fetched", **kwargs) -> Inception:
    assert weights is None and weights_backbone is None
    return Inception(**kwargs)


class models:
    list_models = staticmethod(lambda: ["small", "large"])
    get_model_builder = staticmethod(lambda name: small)
    get_model_weights = staticmethod(lambda name: Weights)
"""
TIMM = """
from toy_modules import Residual


def is_model(name):
    return name == "small"


def list_models():
    return ["small"]


def create_model(name, pretrained):
    assert not pretrained
    made = Residual()
    made.pretrained_cfg = {
        "mean": (0.5, 0.4, 0.3), "std": (0.1, 0.2, 0.3), "input_size": (3, 96, 96), "hf_hub_id": "timm/small",
        "fixed_input_size": True,
    }
    return made
"""
HUB = """
from pathlib import Path
from typing import Any


def try_to_load_from_cache(repository, file):
    found = Path(__file__).parent / repository.replace("/", "--") / file
    return str(found) if found.exists() else None
"""


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in {"torchvision": TORCHVISION, "timm": TIMM, "huggingface_hub": HUB}.items():
        (tmp_path / f"{name}.py").write_text(text)
        monkeypatch.delitem(__import__("sys").modules, name, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path


def test_torchvision_with_weights_of_its_own_cache(packages: Path) -> None:
    with pytest.raises(
        WeightsError, match=r"no weights for torchvision:small: .*small-1234abcd\.pth, fetched from https:"
    ):
        open_network("torchvision:small")
    with pytest.raises(NetworkError, match=r"torchvision has no model 'smal'; did you mean 'small'\?"):
        open_network("torchvision:smal")
    trained = scrambled(Residual()).float()
    (packages / "torch" / "hub" / "checkpoints").mkdir(parents=True)
    torch.save(trained.state_dict(), packages / "torch" / "hub" / "checkpoints" / "small-1234abcd.pth")
    network = open_network("torchvision:small")
    assert network.computation.module is not None
    assert digest(network.computation.module) == digest(trained)
    assert network.preprocess == PREPROCESSES["imagenet"]
    torch.save({}, packages / "torch" / "hub" / "checkpoints" / "small-1234abcd.pth")
    with pytest.raises(WeightsError, match=r"small-1234abcd\.pth is not a file of torchvision:small's weights: "):
        open_network("torchvision:small")


def test_timm_with_its_own_colours_and_weights_of_the_hubs_cache(packages: Path) -> None:
    with pytest.raises(WeightsError, match="the cache of the Hugging Face hub, for timm/small"):
        open_network("timm:small")
    with pytest.raises(NetworkError, match=r"timm has no model 'smell'; did you mean 'small'\?"):
        open_network("timm:smell")
    trained = scrambled(Residual()).float()
    (packages / "timm--small").mkdir()
    save_file(trained.state_dict(), packages / "timm--small" / "model.safetensors")
    network = open_network("timm:small")
    assert network.computation.module is not None
    assert digest(network.computation.module) == digest(trained)
    assert (network.preprocess.mean, network.preprocess.size) == ((0.5, 0.4, 0.3), (96, 96))
    assert open_network("timm:small", preprocess="half").preprocess.size == (96, 96)
    assert open_network("timm:small", random_weights=1).preprocess.std == (0.1, 0.2, 0.3)


# Untrained networks --------------------------------------------------------------------------------------------------


def test_untrained_maps_neither_grow_nor_fade() -> None:
    network = open_network("toy_modules:Residual", random_weights=3)
    found = network(random_image(64, 64, dtype=torch.float32), ["layer1", "layer2", "layer3"])
    assert all(0.1 < float(maps.square().mean().sqrt()) < 10 for maps in found.values())
    plain = open_network("vgg16", random_weights=3, device="cpu", precision="float32")
    maps = plain(random_image(64, 64, dtype=torch.float32), ["relu1_1", "relu5_1"])
    shallow, deep = (float(each.square().mean().sqrt()) for each in maps.values())
    assert 0.3 < deep / shallow < 3


def test_the_statistics_of_untrained_norms_are_those_of_their_maps() -> None:
    """Each channel of a norm's output has about mean 0 and deviation 1 over pictures like those it was measured on."""
    from impasto.images.noise import noise_picture

    network = open_network("toy_modules:Residual", random_weights=1)
    generator = torch.Generator().manual_seed(9)
    maps = torch.cat(
        [network(noise_picture(224, generator, leaves=n % 2 == 1), ["layer2.bn1"])["layer2.bn1"] for n in range(8)]
    )
    assert float(maps.mean((0, 2, 3)).abs().mean()) < 0.4
    assert 0.6 < float(maps.std((0, 2, 3)).mean()) < 1.6


@pytest.mark.parametrize(("size", "measured"), [(None, [True, False]), ((32, 32), [True, True])])
def test_norms_of_modules_that_take_one_size(size: tuple[int, int] | None, measured: list[bool]) -> None:
    """Without the size, the norms that can be read are measured: those before the layer that fixes the size."""
    norms = nn.BatchNorm2d(4), nn.BatchNorm1d(8)
    module = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), norms[0], nn.Flatten(), nn.Linear(4 * 32 * 32, 8), norms[1])
    untrain(module, Preprocess(0.5, 0.5, channels=1, size=size), 1, "digits")
    assert [bool(norm.running_mean.any()) for norm in norms if norm.running_mean is not None] == measured


def test_a_module_that_takes_no_picture_is_not_untrained() -> None:
    films = nn.Sequential(nn.Conv3d(3, 4, 3), nn.BatchNorm3d(4))
    with pytest.raises(NetworkError, match=r"^films fails for a picture of 256 × 192 pixels: "):
        untrain(films, Preprocess(), 1, "films")


def test_untrained_networks_are_their_seeds() -> None:
    def hashed(seed: int) -> str:
        module = open_network("toy_modules:Transformer", random_weights=seed).computation.module
        assert module is not None
        return digest(module)

    assert hashed(1) == hashed(1) != hashed(2)
    with pytest.raises(SpecError, match="choose --network vgg16 without --weights and --means"):
        open_network("vgg16-normalised", random_weights=1)


class Scaled(nn.Module):
    """A block of a transformer with LayerScale, and every other kind of parameter that is no layer's own."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.relu = nn.Conv2d(3, 12, 8, 8), nn.PReLU()
        self.cls_token, self.pos_embed = nn.Parameter(torch.randn(1, 1, 12)), nn.Parameter(torch.randn(1, 65, 12))
        self.class_embedding = nn.Parameter(torch.randn(12))
        self.layer_scale, self.gamma = nn.Parameter(1e-5 * torch.randn(12, 1, 1)), nn.Parameter(1e-5 * torch.randn(12))
        self.shift, self.logit_scale = nn.Parameter(torch.randn(12)), nn.Parameter(torch.tensor(4.6))
        self.norm, self.attention = nn.LayerNorm(12), nn.MultiheadAttention(12, 2, batch_first=True)
        nn.init.normal_(self.attention.in_proj_bias)
        self.out, self.whole = nn.Identity(), nn.LayerNorm((12, 8, 8))

    def forward(self, image: Tensor) -> Tensor:
        maps = self.whole(self.relu(self.embed(image))) * self.layer_scale
        tokens = torch.cat([self.cls_token + self.class_embedding, maps.flatten(2).transpose(1, 2)], 1)
        tokens = tokens + self.pos_embed
        seen = self.norm(tokens)
        return self.out(tokens + self.gamma * self.attention(seen, seen, seen)[0] + self.shift) * self.logit_scale


def test_nothing_of_the_former_weights_remains() -> None:
    """Two modules whose parameters all differ become the same; those of one number a channel become 1 or 0."""
    first, other = Scaled(), Scaled()
    for module in (first, other):
        with torch.no_grad():
            for value in module.parameters():
                value.add_(torch.randn_like(value))
        untrain(module, Preprocess(), 3, "scaled")
    mine, theirs = first.state_dict(), other.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in mine.items())
    for name in ("layer_scale", "gamma", "norm.weight", "whole.weight", "logit_scale"):
        assert torch.equal(mine[name], torch.ones_like(mine[name])), name
    for name in ("shift", "norm.bias", "embed.bias", "attention.in_proj_bias", "attention.out_proj.bias"):
        assert not mine[name].any(), name
    assert float(mine["relu.weight"]) == 0.25
    assert 0.01 < float(mine["class_embedding"].std()) < 0.03
    assert 0.018 < float(mine["pos_embed"].std()) < 0.022
    assert abs(float(mine["attention.in_proj_weight"].square().mean()) * 12 - 1) < 0.2
    assert abs(float(mine["embed.weight"].square().mean()) * 3 * 64 - 2) < 0.2


def test_the_branches_of_an_untrained_transformer_count() -> None:
    """What the branch behind LayerScale adds has about the size of what it is added to."""
    module = Scaled().eval()
    seen: list[Tensor] = []
    module.out.register_forward_hook(lambda _module, given, _found: seen.append(given[0]))
    module.norm.register_forward_pre_hook(lambda _module, given: seen.append(given[0]))
    image = random_image(64, 64, dtype=torch.float32) * 4 - 2

    def added() -> float:
        seen.clear()
        with torch.no_grad():
            module(image)
            before, after = seen
            return float((after - module.shift - before).norm() / before.norm())

    assert added() < 1e-3
    untrain(module, Preprocess(), 1, "scaled")
    assert 0.1 < added() < 10


# Settings ------------------------------------------------------------------------------------------------------------


def test_depths_are_those_of_vgg16() -> None:
    names = VGG16.layers
    assert DEPTHS.items() <= {name: f"@{number / (len(names) - 1):.2g}" for number, name in enumerate(names)}.items()
    used = {
        layer for each in (InvertSettings(), ReconstructSettings(), TransferSettings()) for layer in each.named_layers
    }
    of_presets = {
        layer
        for tasks in presets().values()
        for settings in tasks.values()
        if isinstance(settings, dict)
        for key, value in settings.items()
        if "layers" in key or key == "layer"
        for layer in Layers(value).names
    }
    assert used | of_presets <= set(DEPTHS)


def test_default_layers_of_a_module_are_relative_depths() -> None:
    assert InvertSettings(network="toy_modules:Residual").layer == "@0.57"
    assert InvertSettings(network="toy_modules:Residual", layer="layer2").layer == "layer2"
    assert TransferSettings(network="a:b").style_layers == "@0.033=1,@0.2=3,@0.37=4,@0.6=0.5"
    assert preset("reconstruct", "report", network="a:b").named_layers[0] == "@0.033"
    assert InvertSettings().layer == "conv4_1"


def test_names_of_preprocessings_are_one_list() -> None:
    assert set(PreprocessName.__args__) == set(PREPROCESSES)  # type: ignore[attr-defined]


# Runs ----------------------------------------------------------------------------------------------------------------


def test_a_run_of_a_module_from_folder_to_page(desk: Path, tmp_path: Path) -> None:
    settings = ReconstructSettings(network=named(desk, "residual"), size=48, steps=4, frames=3)
    out = run(RunSpec(task="reconstruct", pictures=(EXAMPLES / "red-panda.webp",), settings=settings), tmp_path / "run")
    toml, page = (out / "run.toml").read_text(), (out / "report.html").read_text()
    assert '"@0.57" = "layer2.downsample.0"' in toml
    assert "mean = [" in toml
    assert "@0.57: layer2.downsample.0" in page
    assert "mean: 0.485, 0.456, 0.406; std: " in page
    summary = json.loads((out / "summary.json").read_text())
    assert summary["status"] == "done"


def test_a_run_of_a_module_is_resumed_bit_for_bit_unless_the_module_changed(desk: Path, tmp_path: Path) -> None:
    """In tiles, stopped between two of them, and resumed; then the file is another one."""
    (tmp_path / "nets.py").write_text(FACTORIES.replace("import beside\n", ""))
    settings = InvertSettings(
        network=f"{tmp_path / 'nets.py'}:residual", size=48, steps=6, frames=0, layer="layer2", tile=32
    )
    spec = RunSpec(task="invert", pictures=(EXAMPLES / "red-panda.webp",), settings=settings)
    whole = run(spec, tmp_path / "whole")
    assert json.loads((whole / "summary.json").read_text())["tile_px"] == [32, 32]
    steps = iter(range(100))
    with pytest.raises(ImpastoError, match="stopped"):
        run(spec, tmp_path / "cut", stop=lambda: next(steps) >= 20)
    cut = resume(tmp_path / "cut")
    assert (cut / "result.png").stat().st_size > 0
    from impasto.images.files import load_image

    assert torch.equal(load_image(cut / "result.png"), load_image(whole / "result.png"))
    steps = iter(range(100))
    with pytest.raises(ImpastoError, match="stopped"):
        run(spec, tmp_path / "again", stop=lambda: next(steps) >= 5)
    (tmp_path / "nets.py").write_text(FACTORIES.replace("import beside\n", "") + "\n# another file\n")
    with pytest.raises(ImpastoError, match="has changed since that run"):
        resume(tmp_path / "again")


def test_tiles_are_refused_in_a_sentence(desk: Path, tmp_path: Path) -> None:
    pictures = (EXAMPLES / "red-panda.webp",)
    tiled = InvertSettings(network=named(desk, "gelu"), size=96, steps=2, tile=32)
    with pytest.raises(
        SpecError, match=r"nets.py:gelu cannot be computed in tiles from 1 \(GELU\) on; leave out --tile"
    ):
        run(RunSpec(task="invert", pictures=pictures, settings=tiled), tmp_path / "tiled")
    large = InvertSettings(network=named(desk, "gelu"), size=60000, steps=2)
    with pytest.raises(
        ImpastoError,
        match=r"cannot be computed in tiles from 1 \(GELU\) on, and a whole result of .* --size \d+ would fit",
    ):
        run(RunSpec(task="invert", pictures=pictures, settings=large), tmp_path / "large")
    assert not list(tmp_path.iterdir())


def test_files_of_a_choice_from_any_folder(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(desk)
    choice = Choice("nets.py:small", weights=Path("w.pth")).with_absolute_files()
    assert choice.files() == {"network": desk / "nets.py", "weights": desk / "w.pth"}
    assert isinstance(Choice("nets.py:small").open("auto"), Network)


def test_the_command_lists_the_layers_of_a_module(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(desk)
    listed = call("networks", "layers", "nets.py:residual")
    assert listed.code == 0, listed.err
    assert listed.out.splitlines()[0].split()[:4] == ["layer", "kind", "channels", "stride"]
    assert "layer1.relu:2" in listed.out
    assert "pictures are taken as RGB in 0 … 1, minus 0.485" in listed.err
    lines = call("networks", "layers", "nets.py:small", "--json").out.splitlines()
    assert json.loads(lines[2]) == {
        "layer": "2", "kind": "Conv2d", "channels": 8, "stride": 2, "reach_px": 2, "smallest_px": 1,
        "notes": [], "vector": False,
    }  # fmt: skip
    wrong = call("networks", "layers", "nets.py:residul")
    assert (wrong.code, wrong.out) == (2, "")
    assert wrong.err.count("\n") == 1
