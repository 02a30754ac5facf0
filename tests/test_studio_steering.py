"""The studio for programs, without a browser: regions changed in the middle, a full disk, networks that are code."""

import io
import os
import resource
import shutil
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

import toy_modules
from command import pixels
from impasto import read_run
from impasto.folders.specfiles import located, read_spec
from impasto.jobs.keeping import QUEUE, Kept, all_kept, keep
from impasto.jobs.orders import OneRun
from impasto.tasks.spec import RunSpec
from impasto.tasks.table import make_settings
from studio_program import Studio, save_pictures_and_mask, studio

pytestmark = pytest.mark.slow
TRUSTED = "no_such_package:factory"
SMALL = {"size": 48, "frames": 0, "threads": 1}


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_pictures_and_mask(tmp_path_factory.mktemp("studio"))


@pytest.fixture(scope="module")
def running(here: Path) -> Iterator[Studio]:
    shutil.copyfile(toy_modules.__file__, here / "net.py")
    with studio(here / "runs", "--network", TRUSTED, "--network", f"{here / 'net.py'}:Residual") as program:
        yield program


@pytest.fixture(scope="module")
def client(running: Studio, tmp_path_factory: pytest.TempPathFactory) -> Client:
    return Client(running.url, verbose=False, download_files=str(tmp_path_factory.mktemp("downloads")))


def paint(client: Client, here: Path, task: str = "transfer", **settings: Any) -> dict[str, Any]:
    names = ("photo.png", "painting.png") if task == "transfer" else ("photo.png",)
    pictures = [handle_file(here / name) for name in names]
    settings = {"smallest": 48, "style_layers": "relu1_1,relu2_1", **settings} if task == "transfer" else settings
    return client.predict(task, pictures, "default", {**SMALL, **settings}, api_name="/paint")


def wait(client: Client, job: int, *states: str, step: int = 0) -> dict[str, Any]:
    end = time.monotonic() + 300
    while time.monotonic() < end:
        now = client.predict(job, api_name="/look")
        if now["state"] in states and now["step"] >= step:
            return now
        time.sleep(0.05)
    pytest.fail(f"never came: {states}, but {now}")


def test_regions_change_in_the_middle_and_travel_in_the_archive(client: Client, running: Studio, here: Path) -> None:
    """The run in the archive is repeated where there are no uploads beside it, bit for bit."""
    job = paint(client, here, steps=100_000)
    wait(client, job["job"], "running", step=2)
    mask = client.predict(handle_file(here / "box.png"), api_name="/keep")
    assert mask.startswith("uploads/")
    with pytest.raises(AppError, match="must be a file inside"):
        client.predict(job["job"], {"region": "/etc/passwd=photo"}, api_name="/change")
    client.predict(job["job"], {"region": f"{mask}=photo"}, api_name="/change")
    for _ in range(2000):
        if "region is box: left as it is now" in client.predict(job["job"], api_name="/look")["sentence"]:
            break
        time.sleep(0.05)
    client.predict(job["job"], api_name="/stop")
    wait(client, job["job"], "stopped", "failed")
    folder = running.runs / job["run"]
    with Image.open(here / "photo.png") as photo:
        before = np.asarray(photo.convert("RGB").resize((48, 36), Image.Resampling.BICUBIC)).astype(int)
    assert np.abs(pixels(folder / "result.png")[14:22, 16:32, :3] - before[14:22, 16:32]).max() < 40
    (change,) = read_run(folder).spec.changes
    archive = zipfile.ZipFile(io.BytesIO(httpx.get(f"{running.url}zip/{job['run']}", timeout=300).content))
    assert f"{job['run']}/{mask}" in archive.namelist()
    archive.extractall(here / "elsewhere")
    shutil.move(running.runs / "uploads", here / "away")
    try:
        spec, changed = located(read_spec(here / "elsewhere" / job["run"]))
    finally:
        shutil.move(here / "away", running.runs / "uploads")
    named = [*spec.pictures, *(file for each in spec.changes for file in each.files)]
    assert changed == []
    assert len(named) == 3
    assert all(path.is_relative_to(here / "elsewhere") for path in named)
    assert change.step == spec.changes[0].step


def test_a_full_disk_and_a_divergence_are_sentences_and_the_studio_goes_on(
    client: Client, running: Studio, here: Path
) -> None:
    """The disk is full in the middle of a run, as the system says it; the last good picture is kept."""
    job = paint(client, here, steps=100_000)
    wait(client, job["job"], "running", step=2)
    (worker,) = [each for each in psutil.Process(running.process.pid).children() if "spawn_main" in str(each.cmdline())]
    least = 1000 + (running.runs / job["run"] / "metrics.jsonl").stat().st_size
    unlimited = resource.prlimit(worker.pid, resource.RLIMIT_FSIZE, (max(30_000, least), resource.RLIM_INFINITY))
    failed = wait(client, job["job"], "failed", "stopped", "done")
    resource.prlimit(worker.pid, resource.RLIMIT_FSIZE, unlimited)
    assert failed["state"] == "failed"
    assert "File too large" in failed["sentence"]
    assert "\n" not in failed["sentence"]
    with Image.open(client.predict(job["job"], api_name="/picture")) as picture:
        assert picture.size == (48, 36)
    wild = {"optimiser": "adam", "learning_rate": 1e30, "parameterisation": "fourier", "size": 32, "steps": 9}
    job = paint(client, here, task="invert", **wild)
    failed = wait(client, job["job"], "failed", "stopped", "done")
    assert failed["state"] == "failed"
    assert "try a smaller learning rate" in failed["sentence"]
    assert (running.runs / job["run"] / "result.png").is_file()
    job = paint(client, here, steps=1)
    assert wait(client, job["job"], "done", "failed")["state"] == "done"


def test_networks_that_are_code_are_refused_unless_named_at_the_start(client: Client, here: Path) -> None:
    before = client.predict(api_name="/jobs")
    for name in ("os:getcwd", "torchvision:resnet18", "made.py:factory"):
        with pytest.raises(AppError, match=f"--network {name} if you trust that code"):
            paint(client, here, network=name)
    assert client.predict(api_name="/jobs") == before  # nothing was queued


def test_a_network_named_at_the_start_is_taken(client: Client, here: Path) -> None:
    job = paint(client, here, network=TRUSTED)
    assert "no_such_package" in wait(client, job["job"], "failed", "done")["sentence"]


def test_code_in_a_file_outside_the_folder_of_runs(client: Client, running: Studio, here: Path) -> None:
    """The studio paints with the file that the command named at the start, wherever the file lies."""
    network = f"{here / 'net.py'}:Residual"
    job = paint(client, here, task="invert", network=network, steps=2, layer="layer2")
    done = wait(client, job["job"], "failed", "done")
    assert done["state"] == "done", done["sentence"]
    assert read_spec(running.runs / job["run"]).spec.settings.network == network


def test_changes_that_wait_move_with_the_folder_of_runs(tmp_path: Path) -> None:
    """A paused job's changed regions are found where the folder of runs was moved."""
    (runs := tmp_path / "runs").mkdir()
    (runs / QUEUE).mkdir()
    settings = make_settings("transfer")
    spec = RunSpec(task="transfer", pictures=(runs / "a.png", runs / "b.png"), settings=settings)
    near = Path(os.path.relpath(runs))
    keep(near / QUEUE, Kept(1, near / "one", OneRun(spec), "paused", {"region": f"{near}/uploads/a.png=photo"}))
    runs.rename(tmp_path / "moved")
    (found,) = all_kept(Path(os.path.relpath(tmp_path / "moved")) / QUEUE)
    assert found.asked["region"] == [f"{os.path.relpath(tmp_path / 'moved')}/uploads/a.png=photo"]
