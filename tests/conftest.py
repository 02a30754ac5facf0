"""Fixtures of all tests: a small seeded network, the bundled network, and pictures from the examples folder."""

import fcntl
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import settings
from jaxtyping import config as shapes
from torch import Tensor

from impasto.files import bundled
from impasto.images.files import load_image
from impasto.images.image import Size, resize
from impasto.machine import Precision
from impasto.networks.catalogue import Choice, Entry, open_network
from impasto.networks.network import Network, Padding, Pooling
from impasto.networks.steps import Convolution
from impasto.networks.vgg import vgg
from impasto.weights.layout import vgg_layers

torch.set_num_threads(1)
settings.register_profile("fast", deadline=None, max_examples=25, derandomize=True, database=None)
settings.load_profile("fast")

EXAMPLES = Path(__file__).parents[1] / "examples"
DATA = bundled("vgg16.safetensors").parent
READ = Choice._trained
CLASSIC: dict[str, Any] = {
    "neighbours": 0.0,
    "layout": 0.0,
    "content_weight": 0.06,
}  # of a transfer by statistics and content alone
CLASSIC_WORDS = ("--neighbours", "0", "--layout", "0", "--content-weight", "0.06")
CONVOLUTIONS = (2, 2)
CHANNELS = {1: 5, 2: 7}

DEAR = {"made", "studied", "wholes", "alone", "cluster"}  # fixtures that take seconds
LONGEST = (  # files that take longest, which begin first: no worker waits for one of them at the end
    *("test_studio_in_browser", "test_cluster_tiles", "test_docs", "test_jobs", "test_cluster", "test_batch"),
    *("test_resume", "test_studio", "test_study", "test_host", "test_regions", "test_memory"),
    *("test_program", "test_units", "test_trained_networks"),
)
REACHING = {  # files whose programs run lines of the package that no test reaches in its own process
    *("test_batch", "test_cluster", "test_cluster_tiles", "test_desk", "test_jobs", "test_modest_machines"),
    *("test_owners", "test_program", "test_studio", "test_studio_in_browser", "test_tracking"),
    *("test_waiting", "test_watchers"),
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Who waits for a dear fixture is slow too; the longest files begin first."""
    for item in items:
        if DEAR.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)
    order = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.stem, len(LONGEST)))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Only quick tests check shapes: they reach the annotated code, and a checked call costs three times as much."""
    shapes.update("jaxtyping_disable", item.get_closest_marker("slow") is not None)


@pytest.fixture(autouse=True, scope="module")
def only_programs_that_reach_further_are_measured(request: pytest.FixtureRequest) -> Iterator[None]:
    """Coverage makes a program a fifth slower."""
    with pytest.MonkeyPatch.context() as patch:
        if request.path.stem not in REACHING:
            patch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
        yield


def tiny_weights(seed: int = 0) -> dict[str, Tensor]:
    """Random weights of a network with two blocks, scaled so that activations neither grow nor fade."""
    generator = torch.Generator().manual_seed(seed)
    weights: dict[str, Tensor] = {}
    channels = 3
    for layer in vgg_layers(CONVOLUTIONS):
        if layer.startswith("conv"):
            out = CHANNELS[int(layer[4])]
            weight = torch.randn(out, channels, 3, 3, generator=generator, dtype=torch.float64)
            weights[f"{layer}.weight"] = weight * (2 / (9 * channels)) ** 0.5
            weights[f"{layer}.bias"] = torch.randn(out, generator=generator, dtype=torch.float64)
            channels = out
    return weights


def make_tiny(
    precision: Precision = "float64", pooling: Pooling = "max", padding: Padding = "zero", seed: int = 0
) -> Network:
    return vgg(
        "tiny",
        tiny_weights(seed),
        convolutions=CONVOLUTIONS,
        pooling=pooling,
        padding=padding,
        precision=precision,
        device="cpu",
    )


def random_image(height: int, width: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """White noise in [0, 1]."""
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def example(name: str, size: Size) -> Tensor:
    """A picture of the examples folder, in a size; a tensor of the caller's own."""
    return _example(name, size).clone()


@cache
def _example(name: str, size: Size) -> Tensor:
    return resize(load_image(EXAMPLES / f"{name}.webp"), size)


@pytest.fixture(autouse=True, scope="session")
def own_weights_are_read_once() -> Iterator[None]:
    """The package's own files of weights stay as they are while tests run: what one test has read serves the next."""
    kept: dict[tuple[Path, ...], Any] = {}

    def trained(choice: Choice, known: Entry) -> Any:
        if choice.weights is not None or choice.means is not None:
            return READ(choice, known)
        files = tuple(known.files().values())
        if any(file.parent != DATA for file in files):
            return READ(choice, known)
        if files not in kept:
            kept[files] = READ(choice, known)
        tensors, mean = kept[files]
        return dict(tensors), mean

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Choice, "_trained", trained)
        yield


@pytest.fixture(scope="session")
def tiny() -> Network:
    """conv1_1 … pool2 with 5 and 7 channels, random weights, float64."""
    return make_tiny()


@pytest.fixture(scope="session")
def tiny32() -> Network:
    return make_tiny("float32")


@pytest.fixture(scope="session")
def plain() -> Network:
    """The bundled VGG-16 as trained, float32."""
    return open_network("vgg16", precision="float32", device="cpu")


@pytest.fixture(scope="session")
def normalised() -> Network:
    """The bundled VGG-16, rescaled to mean activations of 1, float32."""
    return open_network("vgg16-normalised", precision="float32", device="cpu")


@pytest.fixture(scope="session")
def photo() -> Tensor:
    """A photograph of 48 × 64 pixels (height, width)."""
    return example("neuschwanstein-castle", (48, 64))


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pictures and small runs of the bundled network; see runs_for_pages.py."""
    from runs_for_pages import make_runs

    return made_once("runs", make_runs, tmp_path_factory)


@pytest.fixture
def made_desk(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the runs to work in, and to damage."""
    return copied(made, tmp_path, monkeypatch)


@pytest.fixture(scope="session")
def studied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two pictures and their study; see runs_for_study.py."""
    from runs_for_study import make_study

    return made_once("studied", make_study, tmp_path_factory)


def made_once(name: str, make: Callable[[Path], None], factory: pytest.TempPathFactory) -> Path:
    """A folder that one worker of pytest makes, and all others wait for."""
    base = factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder, ended = shared / name, shared / f"{name}.made"
    with (shared / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not ended.exists():
            shutil.rmtree(folder, ignore_errors=True)  # of a worker that was killed
            folder.mkdir()
            make(folder)
            ended.touch()
    return folder


@pytest.fixture
def study_desk(studied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the study to work in."""
    return copied(studied, tmp_path, monkeypatch)


def copied(folder: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Copy what a folder has, and work there."""
    shutil.copytree(folder, place, dirs_exist_ok=True)
    monkeypatch.chdir(place)
    return place


@contextmanager
def readings() -> Iterator[list[Convolution]]:
    """The first convolutions that read a picture meanwhile: one for each picture and reading."""
    found, forward = list[Convolution](), Convolution.forward

    def counted(step: Convolution, *inputs: Any) -> Tensor:
        if step.weight.shape[1] == 3:
            found.append(step)
        return forward(step, *inputs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Convolution, "forward", counted)
        yield found


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head that does no work, and two nodes of one core each, deaf to SIGINT as a script's background makes them."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    store = 80 * 2**20  # bytes
    soon = {"health_check_initial_delay_ms": 1000, "health_check_period_ms": 1000, "health_check_failure_threshold": 4}
    settings = {**soon, "worker_niceness": 0}  # else workers stand still beside the other tests
    head = {"num_cpus": 0, "include_dashboard": False, "object_store_memory": store, "_system_config": settings}
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    made = Cluster(initialize_head=True, head_node_args=head)
    for _ in range(2):
        made.add_node(num_cpus=1, object_store_memory=store)
    signal.signal(signal.SIGINT, before)
    yield made
    made.shutdown()
