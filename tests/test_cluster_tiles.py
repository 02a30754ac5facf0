"""One picture on a Ray cluster of several nodes on this machine: the numbers of one machine, whatever is lost."""

import math
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage
from torch import Tensor

import impasto.cluster.crew
from command import call, pixels, read_json, read_lines, save_pictures
from conftest import CLASSIC_WORDS, random_image
from impasto import Recorder, run
from impasto.cluster.connection import connected
from impasto.cluster.crew import Crew, LostError, Worker, assigned
from impasto.cluster.plan import CrewHelper, equipment
from impasto.cluster.tiler import ClusterTiler, Traffic, cluster_tiler
from impasto.cluster.worker import About, TileWorker, identity
from impasto.errors import ClusterError, WeightsError
from impasto.events import Event
from impasto.folders.specfiles import read_spec
from impasto.images.image import Size
from impasto.machine import Precision
from impasto.networks.catalogue import open_network
from impasto.networks.network import Network
from impasto.objectives.distances import mean_squared_error
from impasto.objectives.objective import Objective, content, neighbours, prior, style
from impasto.objectives.priors import total_variation
from impasto.objectives.representations import MeanOverPositions, channel_moments, mean_and_gram
from impasto.objectives.wasserstein import wasserstein_distance
from impasto.objectives.weightmaps import WeightMap
from impasto.runs.stopping import Steering
from impasto.synthesis.loop import Iterate
from impasto.tasks.settings import TransferSettings
from impasto.tiles.budget import Limits, MemoryPlan
from impasto.tiles.criterion import TiledCriterion, bind_tiled
from impasto.tiles.tiler import do_nothing

pytestmark = pytest.mark.filterwarnings("ignore")  # Ray's own
SETTINGS = TransferSettings(device="cpu", padding="replicate", threads=1)
SIZE, CORE = (40, 60), (16, 32)
REGION = torch.zeros(1, 1, 5, 8).index_fill_(3, torch.tensor([1, 2, 3]), 1.0)


def end(worker: Worker, get: Callable[[Worker, Any], Any]) -> None:
    """Kill a worker, and ask until the death is known: Ray kills later than it returns. Raises LostError."""
    import ray

    ray.kill(worker.actor)
    deadline = time.monotonic() + 60.0
    while time.monotonic() < deadline:
        get(worker, worker.actor.node.remote())
        time.sleep(0.05)


@pytest.fixture(scope="class")
def heard() -> list[Event]:
    return []


@pytest.fixture(scope="class")
def crew(cluster: Any, heard: list[Event]) -> Iterator[Crew]:
    with connected(cluster.address) as ray:
        crew = Crew(ray, equipment(SETTINGS), 1, most=8, listener=heard.append)
        crew.muster(120.0)  # both, also where the machine is busy
        yield crew


def network_in(precision: Precision) -> Network:
    return open_network("vgg16", precision=precision, padding="replicate", device="cpu")


def everything(dtype: torch.dtype) -> Objective:
    photo = random_image(*SIZE, 1, dtype)
    return (
        content(photo, {"relu2_2": 0.7, "conv1_2": 0.3})
        + content(random_image(*SIZE, 7, dtype), ["image", "pool1"], distance=mean_squared_error, name="other")
        + style(random_image(59, 91, 2, dtype), ["relu1_1", "relu3_1"], name="first")
        + style(random_image(40, 70, 3, dtype), ["conv1_2", "pool2"], represent=channel_moments, name="second")
        + style(
            *(random_image(64, 64, 5, dtype), ["relu1_1", "relu2_1"]),
            represent=mean_and_gram,
            distance=wasserstein_distance,
            name="third",
        )
        + content(photo, ["relu1_2"], name="detail", where=WeightMap(1 + REGION))
        + style(photo, ["relu2_1"], name="fourth", where=WeightMap(REGION))
        + style(photo, ["relu2_1"], name="fifth", where=WeightMap(1 - REGION), reference_where=WeightMap(REGION))
        + neighbours(photo, [random_image(50, 80, 6, dtype)], {"relu2_1": 0.4, "relu3_1": 0.2})
        + neighbours(photo, [random_image(50, 80, 6, dtype)], ["relu2_1"], name="sixth", where=WeightMap(REGION))
        + prior("smoothness", 0.5, lambda image: total_variation(image, 1.5), reach_px=1)
    )


def bound(crew: Crew, objective: Objective, network: Network, size: Size = SIZE, core: Size = CORE) -> TiledCriterion:
    return bind_tiled(
        *(objective, network, size, core), make=partial(cluster_tiler, crew, Traffic(), network, core, do_nothing)
    )


def require_equal(
    found: tuple[dict[str, float], Tensor], truth: tuple[dict[str, float], Tensor], within: float
) -> None:
    assert list(found[0]) == list(truth[0])
    assert found[0] == pytest.approx(truth[0], rel=within)
    assert (found[1] - truth[1]).norm() <= within * truth[1].norm()


class TestWithACrew:
    """What needs workers and no command; at its end they leave the nodes to the commands below."""

    @pytest.mark.slow
    @pytest.mark.parametrize(("precision", "within"), [("float64", 1e-9), ("float32", 1e-3)])
    def test_workers_give_the_numbers_of_one_machine(self, crew: Crew, precision: Precision, within: float) -> None:
        network = network_in(precision)
        objective, image = everything(network.precision), random_image(*SIZE, 4, network.precision)
        local = bind_tiled(objective, network, SIZE, CORE)
        spread = bound(crew, objective, network)
        assert len(crew.workers) == 2
        assert len(spread.tiles) == len(local.tiles) > 4
        found = spread.losses_and_gradient(image)
        require_equal(found, local.losses_and_gradient(image), within)
        require_equal(found, objective.bind(network, SIZE).losses_and_gradient(image), within)
        assert spread.losses(image) == pytest.approx(local.losses(image), rel=within)
        again = spread.losses_and_gradient(image)
        assert again[0] == found[0]
        assert torch.equal(again[1], found[1])  # bit for bit, for the same workers

    def test_a_cluster_is_asked_only_where_it_gains(self, crew: Crew) -> None:
        helper = CrewHelper(crew)

        def plan(objective: Objective, tile: int | None = None) -> MemoryPlan:
            return MemoryPlan(network_in("float32"), objective, Limits(1e12, tile), SETTINGS.history, helper)

        objective = style(random_image(64, 64, dtype=torch.float32), ["relu4_1"])
        roomy = plan(objective)
        assert helper.core(roomy, (256, 256)) is None
        core = helper.core(roomy, (2048, 2048))
        assert core is not None
        assert (-(-2048 // core[0])) * (-(-2048 // core[1])) >= 4
        assert helper.core(plan(objective, 64), (60, 100)) == (64, 64)
        assert helper.core(plan(objective, 64), (60, 64)) is None
        assert helper.core(plan(prior("smoothness", 1.0, total_variation)), (4096, 4096)) is None
        compared = plan(content(random_image(64, 64, dtype=torch.float32), ["relu4_2"]))
        here = replace(compared, helper=None)
        assert compared.needed((4096, 4096), None, 10) < here.needed((4096, 4096), (512, 512), 10)
        assert compared.core((4096, 4096)) == here.core((4096, 4096))

    def test_bytes_are_those_of_crops_slopes_and_sums(self, crew: Crew) -> None:
        """Each crop goes out once and its gradient comes back; slopes go to each node, a sum comes from each worker."""
        network, photo = network_in("float32"), random_image(*SIZE, 1, torch.float32)
        objective = content(photo, ["relu2_2"]) + style(random_image(59, 91, 2, torch.float32), ["relu1_1", "relu2_1"])
        criterion = bound(crew, objective, network)
        tiler = criterion.tiler
        assert isinstance(tiler, ClusterTiler)
        crops = sum((t.crop.bottom - t.crop.top) * (t.crop.right - t.crop.left) for t in tiler.tiles) * 3 * 4
        assert crops > SIZE[0] * SIZE[1] * 12
        for number in (1, 2):
            criterion.losses_and_gradient(random_image(*SIZE, 10 + number, torch.float32))
            grams = (64**2 + 128**2) * 4
            assert tiler.traffic.evaluations == number
            assert tiler.traffic.sent_bytes == number * (crops + 2 * grams)
            assert tiler.traffic.returned_bytes == number * (crops + 2 * grams + len(tiler.tiles) * 8)

    @pytest.mark.slow
    def test_a_worker_lost_at_any_moment(self, crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
        """While targets are read, in each pass, between them: nothing is missed, and nothing counted twice."""
        network = network_in("float64")
        objective, image = everything(torch.float64), random_image(*SIZE, 4)
        truth = bind_tiled(objective, network, SIZE, CORE).losses_and_gradient(image)
        get, calls, kill_at = crew.get, 0, 0

        def losing(worker: Worker, reference: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == kill_at:
                end(worker, get)
            return get(worker, reference)

        monkeypatch.setattr(crew, "get", losing)
        criterion = bound(crew, objective, network)
        tiles, calls = len(criterion.tiles), 0
        lost = crew.lost
        for moment in (2, tiles + 1, tiles + 6):  # in the first pass, at its sums, in the second pass
            crew.muster(60.0)
            criterion.losses(image)  # so that all that is held is sent, and each tile is one call a pass
            calls, kill_at = 0, moment
            require_equal(criterion.losses_and_gradient(image), truth, 1e-9)
            kill_at, lost = 0, lost + 1
            assert crew.lost == lost
        crew.muster(60.0)
        assert criterion.losses(image) == pytest.approx(truth[0], rel=1e-9)
        assert isinstance(criterion.tiler, ClusterTiler)
        assert set(criterion.tiler.owners.values()) == set(crew.workers)  # whoever comes later is given tiles
        assert len(crew.workers) == 2
        calls, kill_at = 0, 40  # while the targets are read
        again = bound(crew, objective, network)
        assert crew.lost == lost + 1
        require_equal(again.losses_and_gradient(image), truth, 1e-9)

    def test_a_worker_that_fails_is_not_lost(self, crew: Crew) -> None:
        """What goes wrong in its own computation would go wrong with another one too."""
        objective = style(random_image(64, 64, 1, torch.float32), ["relu1_1"], represent=MeanOverPositions(math.sqrt))
        with pytest.raises(ClusterError, match=r"a worker on .* failed \(\w+Error: .*onverted"):
            bound(crew, objective, network_in("float32"))

    @pytest.mark.slow
    def test_a_worker_that_is_not_like_this_machine(
        self, crew: Crew, heard: list[Event], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It ends a run that begins, and is left out of one that is under way."""
        crew.muster(60.0)
        gone = crew.workers[0]
        monkeypatch.setitem(crew._identity, "the weights", "0" * 64)
        with pytest.raises(LostError):
            end(gone, crew.get)
        crew.muster(60.0)
        assert gone not in crew.workers
        assert any("a worker is left out: " in event.words for event in heard)
        with pytest.raises(ClusterError, match=r"differ in the weights; all machines need the same"):
            crew._require_same(crew.workers[0].about)
        monkeypatch.setattr(crew, "_begun", False)
        with pytest.raises(ClusterError, match="as it was"):
            crew._refuse(None, ClusterError("as it was"))
        monkeypatch.setattr(crew, "_failed", 0)

    @pytest.mark.slow
    def test_workers_that_are_lost_again_and_again(self, crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
        get = crew.get

        def losing(worker: Worker, reference: Any) -> Any:
            end(worker, get)

        objective = style(random_image(64, 64, 1, torch.float32), ["relu1_1"])
        criterion = bound(crew, objective, network_in("float32"))
        monkeypatch.setattr(crew, "get", losing)
        monkeypatch.setattr(impasto.cluster.crew, "LOSSES", 2)
        with pytest.raises(ClusterError, match="workers were lost in one evaluation"):
            criterion.losses_and_gradient(random_image(*SIZE, 4, torch.float32))


def test_a_file_that_a_node_does_not_see(tmp_path: Path) -> None:
    known = equipment(SETTINGS)
    own = replace(known, choice=replace(known.choice, weights=tmp_path / "own.safetensors"))
    with pytest.raises(WeightsError, match=r"no file of weights at .*own.safetensors"):
        TileWorker(own, 1).about()
    with pytest.raises(WeightsError, match=r"own.safetensors cannot be read"):
        identity(own)


def test_tiles_stay_where_they_are() -> None:
    one, two, three = (Worker(None, "", About("", False, 0.0, 0.0, {})) for _ in range(3))
    first = assigned(7, [one, two], {})
    assert sorted(list(first.values()).count(each) for each in (one, two)) == [3, 4]
    more = assigned(7, [one, two, three], first)
    assert max(list(more.values()).count(each) for each in (one, two, three)) == 3
    assert sum(first[n] is not more[n] for n in range(7)) == 1
    less = assigned(7, [one], first)
    assert set(less.values()) == {one}


# Whole runs ----------------------------------------------------------------------------------------------------------

STEPS = 12  # 8 at half size, 4 at full size
WORDS = (
    *("--size", "128", "--smallest", "64", "--growth", "2", "--step-ratio", "0.5", "--steps", "4", "--tile", "32"),
    *("--frames", "0", "--precision", "float32"),
    *("--style-layers", "relu1_1,relu2_1", "--content-layers", "relu2_2", "--threads", "1", *CLASSIC_WORDS),
    *("--statistics", "gram"),  # whose rounding is the least
)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures, and the run as it is on one machine."""
    folder = tmp_path_factory.mktemp("desk")
    save_pictures(folder)
    assert call("transfer", folder / "photo.png", folder / "painting.png", *WORDS, "-o", folder / "here").code == 0
    return folder


def transfer(desk: Path, out: str, cluster: Any, *program: str) -> subprocess.Popen[str]:
    command = [sys.executable, *(program or ("-m", "impasto")), "transfer", "photo.png", "painting.png", *WORDS]
    words = ["--checkpoint", "0.1", "-o", out, "--cluster", cluster.address]
    return subprocess.Popen([*command, *words], cwd=desk, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(found: Callable[[], object], process: subprocess.Popen[str], seconds: float = 900) -> None:
    end = time.monotonic() + seconds
    while not found():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def lines(folder: Path) -> list[dict[str, Any]]:
    return read_lines(folder / "metrics.jsonl") if (folder / "metrics.jsonl").exists() else []


def assert_right(folder: Path, desk: Path) -> None:
    """As the run on one machine, but for rounding: each step once, its losses, and the picture."""
    found, truth = lines(folder), lines(desk / "here")
    assert [line["step"] for line in found] == list(range(1, STEPS + 1))
    for line, other in zip(found, truth, strict=True):  # the line search makes more and more of rounding
        assert line["losses"] == pytest.approx(other["losses"], rel=1e-5 if line["step"] <= 2 else 1e-3)
    differences = np.abs(pixels(folder / "result.png") - pixels(desk / "here" / "result.png"))
    assert differences.max() <= 8  # of 255; other tiles on one machine, which round otherwise, make some too
    assert differences.mean() <= 0.3
    assert read_json(folder / "summary.json")["status"] == "done"


def test_a_stop_is_gone_on_with_anywhere(desk: Path, cluster: Any) -> None:
    process = transfer(desk, "stopped", cluster)
    wait_for(lambda: len(lines(desk / "stopped")) >= 2, process)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=900)
    assert process.returncode == 130, err
    assert "impasto: 128 × 96 px in 12 tiles of up to 32 × 32 px on 2 workers\n" in err
    assert err.endswith(f"continue with: impasto resume stopped --cluster {cluster.address}\n")
    assert "raylet" not in err
    shutil.copytree(desk / "stopped", desk / "copy")
    ended = call("resume", desk / "stopped", "--cluster", cluster.address)
    assert ended.code == 0, ended.err
    assert_right(desk / "stopped", desk)
    assert read_json(desk / "stopped" / "summary.json")["cluster"]["workers"] == 2
    assert call("resume", desk / "copy").code == 0
    assert_right(desk / "copy", desk)
    assert "cluster" not in read_json(desk / "copy" / "summary.json")


class ChangeAt(Recorder):
    """Gives a run regions after a step."""

    def __init__(self, steering: Steering, step: int, region: str) -> None:
        self.steering, self.step, self.region = steering, step, region

    def record(self, iterate: Iterate) -> None:
        if iterate.step == self.step:
            self.steering.change(region=self.region)


@pytest.mark.slow
def test_regions_change_while_a_cluster_paints(desk: Path, cluster: Any) -> None:
    """Workers read the targets of the new regions: losses and picture are those of one machine."""
    spec = read_spec(desk / "here").spec
    for name, box in (("left.png", (0, 0, 29, 47)), ("sky.png", (0, 0, 63, 19))):
        mask = PillowImage.new("L", (64, 48))
        mask.paste(255, box)
        mask.save(desk / name)
    region = f"{desk / 'left.png'}={desk / 'photo.png'},strength=2; {desk / 'sky.png'}=photo"
    for name, more in (("changed-here", {}), ("changed-there", {"cluster": cluster.address})):
        steering = Steering(spec)
        run(spec, desk / name, recorders=[ChangeAt(steering, 6, region)], steering=steering, **more)
        assert [change.step for change in read_spec(desk / name).spec.changes] == [6]
    assert read_json(desk / "changed-there/summary.json")["cluster"]["workers"] == 2
    found, truth = lines(desk / "changed-there"), lines(desk / "changed-here")
    assert not any(" in left" in term for term in found[5]["losses"])
    assert any(term.startswith("style in left") for term in found[6]["losses"])
    for line, other in zip(found, truth, strict=True):
        assert line["losses"] == pytest.approx(other["losses"], rel=1e-3)
    differences = np.abs(pixels(desk / "changed-there/result.png") - pixels(desk / "changed-here/result.png"))
    assert differences.max() <= 8
    assert differences.mean() <= 0.3


def test_a_lost_node_costs_nothing(desk: Path, cluster: Any) -> None:
    """In the middle of a picture one of two nodes is killed, with all that its worker held."""
    killed = next(iter(cluster.worker_nodes))
    process = transfer(desk, "killed", cluster)
    wait_for(lambda: len(lines(desk / "killed")) >= 2, process)
    assert len(lines(desk / "killed")) < STEPS
    cluster.remove_node(killed, allow_graceful=False)
    out, err = process.communicate(timeout=900)
    assert process.returncode == 0, err
    assert out == "killed\n"
    assert "is lost; others take its tiles" in err
    assert "raylet" not in err
    assert_right(desk / "killed", desk)
    counted = read_json(desk / "killed" / "summary.json")["cluster"]
    assert (counted["workers"], counted["lost"], counted["tiles"]) == (1, 1, 12)


def test_a_cluster_that_is_lost_leaves_a_run_that_goes_on(desk: Path, cluster: Any) -> None:
    """The last checkpoint is there, and another cluster or this machine alone can go on."""
    program = (
        "import impasto.cluster.crew\nimpasto.cluster.crew.START_SECONDS = 2\nfrom impasto.cli.app import main\nmain()"
    )
    process = transfer(desk, "lost", cluster, "-c", program)
    wait_for(lambda: len(lines(desk / "lost")) >= 2, process)
    for node in list(cluster.worker_nodes):
        cluster.remove_node(node, allow_graceful=False)
    _, err = process.communicate(timeout=900)
    assert process.returncode == 1, err
    assert "impasto: the cluster has no worker for this run (" in err  # and then the reason, as Ray has it
    assert err.endswith(f"; continue with: impasto resume lost --cluster {cluster.address}\n")
    assert call("resume", desk / "lost").code == 0
    assert_right(desk / "lost", desk)


@pytest.mark.slow
@pytest.mark.parametrize("words", [("transfer", "photo.png", "painting.png"), ("run", "here")])
def test_no_cluster_answers(desk: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]) -> None:
    monkeypatch.chdir(desk)
    ended = call(*words, "-o", "no", "--cluster", "127.0.0.1:1")
    assert ended.code == 1
    assert ended.err.startswith("impasto: no Ray cluster answers at 127.0.0.1:1")
    assert ended.err.endswith("start one with: ray start --head\n")
    assert not Path("no").exists()


@pytest.mark.slow
def test_ray_is_an_extra(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    ended = call("invert", desk / "photo.png", "-o", desk / "no", "--cluster", "auto")
    assert ended.code == 2
    assert "--cluster needs a package that is missing" in ended.err
    assert ended.err.endswith("pip install 'impasto-torch[ray]'\n")
