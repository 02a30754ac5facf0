"""The queue of runs, with its real worker process."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from PIL import Image

from command import save_pictures
from impasto import RunSpec, preset, read_run, run
from impasto.errors import OutputError, SpecError
from impasto.folders.specfiles import read_spec, spec_toml
from impasto.jobs.keeping import QUEUE, Kept, all_kept, keep
from impasto.jobs.orders import OneRun, Sheet
from impasto.jobs.process import how_it_died
from impasto.jobs.queue import Job, Jobs

pytestmark = pytest.mark.slow


def spec_of(folder: Path, **values: Any) -> RunSpec:
    pictures = (folder / "photo.png", folder / "painting.png")
    settings = preset("transfer", "default", **{"size": 48, "steps": 14, "frames": 0, "threads": 1, **values})
    return RunSpec(task="transfer", pictures=pictures, settings=settings)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("jobs")
    save_pictures(folder)
    return folder


@pytest.fixture(scope="module")
def jobs(here: Path) -> Iterator[Jobs]:
    queue = Jobs(here / "runs")
    yield queue
    queue.close()


def until(jobs: Jobs, number: int, true: Callable[[Job], bool], seconds: float = 300) -> Job:
    end = time.monotonic() + seconds
    while not true(jobs.job(number)):
        assert time.monotonic() < end, f"never came: {jobs.job(number)}"
        time.sleep(0.01)
    return jobs.job(number)


def at_step(step: int) -> Callable[[Job], bool]:
    return lambda job: job.step is not None and job.step.step >= step


def ended(job: Job) -> bool:
    return job.ended


def pixels(folder: Path) -> bytes:
    with Image.open(folder / "result.png") as opened:
        return opened.tobytes()


def worker() -> psutil.Process:
    return next(each for each in psutil.Process().children() if "spawn_main" in " ".join(each.cmdline()))


def test_jobs_are_painted_one_after_the_other_and_seen(jobs: Jobs, here: Path) -> None:
    first, second = jobs.add(spec_of(here)), jobs.add(spec_of(here, steps=2))
    assert first.folder != second.folder
    seen = set()

    def look(job: Job) -> bool:
        if job.preview is not None:
            assert job.preview.jpeg.startswith(b"\xff\xd8")
            seen.add(job.preview.step)
        if not job.ended:
            assert jobs.job(second.number).state == "waiting"
        return job.ended

    assert until(jobs, first.number, look).state == "done"
    assert len(seen) >= 3
    assert min(seen) == 0
    assert until(jobs, second.number, ended).state == "done"
    assert read_run(second.folder).status == "done"
    assert jobs.job(first.number).preview is None  # the folder has the picture
    assert jobs.of(first.folder) is None


def test_a_paused_job_goes_on_bit_for_bit(jobs: Jobs, here: Path) -> None:
    job = jobs.add(spec_of(here))
    until(jobs, job.number, at_step(3))
    jobs.pause(job.number)
    paused = until(jobs, job.number, lambda job: job.state == "paused")
    assert paused.step is not None
    assert paused.step.step < 14
    assert jobs.of(job.folder) == paused
    jobs.go_on(job.number)
    assert until(jobs, job.number, ended).state == "done"
    whole = run(spec_of(here), here / "whole")
    assert pixels(job.folder) == pixels(whole)


def test_settings_change_in_the_middle_and_are_kept(jobs: Jobs, here: Path) -> None:
    job = jobs.add(spec_of(here, steps=20))
    until(jobs, job.number, at_step(2))
    jobs.change(job.number, style_weight=8.0)
    with pytest.raises(SpecError, match="size cannot be changed"):
        jobs.change(job.number, size=32)
    jobs.pause(job.number)
    until(jobs, job.number, lambda job: job.state == "paused")
    jobs.change(job.number, content_weight=0.5)  # holds once the run goes on
    jobs.go_on(job.number)
    assert until(jobs, job.number, ended).state == "done"
    changes = read_spec(job.folder).spec.changes
    made = {name: value for change in changes for name, value in change.settings.items()}
    assert made == {"style_weight": 8.0, "content_weight": 0.5}
    again = run(read_spec(job.folder).spec, here / "again")
    assert pixels(again) == pixels(job.folder)


def test_a_stopped_job_keeps_its_picture(jobs: Jobs, here: Path) -> None:
    job = jobs.add(spec_of(here, steps=100_000))
    waiting = jobs.add(spec_of(here))
    jobs.stop(waiting.number)
    assert jobs.job(waiting.number).state == "stopped"
    until(jobs, job.number, at_step(1))
    jobs.stop(job.number)
    stopped = until(jobs, job.number, ended)
    assert stopped.state == "stopped"
    assert "the picture so far is in" in stopped.sentence
    assert read_run(job.folder).status == "interrupted"
    with pytest.raises(SpecError, match="cannot be changed any more"):
        jobs.change(job.number, style_weight=2.0)


def test_a_job_that_never_began_leaves_no_folder(jobs: Jobs, here: Path) -> None:
    first, second = jobs.add(spec_of(here, steps=100_000)), jobs.add(spec_of(here))
    assert second.folder.is_dir()
    jobs.stop(second.number)
    assert not second.folder.exists()
    jobs.stop(first.number)
    until(jobs, first.number, ended)


def test_a_job_that_fails_says_why_and_the_next_is_painted(jobs: Jobs, here: Path) -> None:
    bad = jobs.add(spec_of(here, content_layers="relu9_9"))
    good = jobs.add(spec_of(here, steps=1))
    failed = until(jobs, bad.number, ended)
    assert (failed.state, "relu9_9" in failed.sentence) == ("failed", True)
    assert not bad.folder.exists()
    assert until(jobs, good.number, ended).state == "done"


def test_a_run_whose_process_is_killed_resumes_in_another(jobs: Jobs, here: Path) -> None:
    job = jobs.add(spec_of(here))
    until(jobs, job.number, at_step(3))
    worker().kill()
    failed = until(jobs, job.number, ended)
    assert failed.state == "failed"
    assert "perhaps because memory was short" in failed.sentence
    again = jobs.resume(job.folder, job.spec)
    assert jobs.resume(job.folder, job.spec).number == again.number  # it is in the queue already
    assert until(jobs, again.number, ended).state == "done"
    assert pixels(job.folder) == pixels(here / "whole")


def test_jobs_that_wait_are_found_again(here: Path) -> None:
    """The run that was being painted is paused at a checkpoint; those that waited are painted, as changed."""
    queue = Jobs(here / "left")
    painted, waiting = queue.add(spec_of(here, steps=30)), queue.add(spec_of(here, steps=2))
    paused = queue.add(spec_of(here, steps=3))
    queue.pause(paused.number)
    queue.change(paused.number, style_weight=7.0)
    until(queue, painted.number, at_step(1))
    with pytest.raises(OutputError, match="has a queue already"):
        Jobs(here / "left")
    queue.close()
    assert read_run(painted.folder).status == "interrupted"
    other = Jobs(here / "left")
    assert [other.job(each.number).folder for each in (painted, waiting, paused)] == [
        each.folder for each in (painted, waiting, paused)
    ]
    assert other.job(painted.number).state == "paused"
    assert until(other, waiting.number, ended).state == "done"
    assert other.job(painted.number).state == "paused"
    other.go_on(paused.number)
    assert until(other, paused.number, ended).state == "done"
    assert read_spec(paused.folder).spec.changes[0].settings == {"style_weight": 7.0}
    other.go_on(painted.number)
    assert until(other, painted.number, ended).state == "done"
    other.close()
    assert pixels(painted.folder) == pixels(run(spec_of(here, steps=30), here / "whole-30"))
    assert list((here / "left/.impasto-queue").glob("*.json")) == []


def test_a_sheet_is_a_job(jobs: Jobs, here: Path) -> None:
    """Candidates come one after the other; a sheet that was stopped goes on, and is what `impasto explore` makes."""
    base = spec_of(here, steps=4)
    order = Sheet(base, ("size", "steps", "frames", "threads"), strengths=(0.5, 2.0), strokes=(1.0, 1.5))
    job = jobs.add(order)
    until(jobs, job.number, lambda job: job.member is not None and job.member.number == 2)
    with pytest.raises(SpecError, match="cannot be changed while it is painted"):
        jobs.change(job.number, style_weight=3.0)
    jobs.pause(job.number)
    until(jobs, job.number, lambda job: job.state == "paused")
    jobs.go_on(job.number)
    assert until(jobs, job.number, ended).state == "done"
    assert sorted(path.parent.name for path in job.folder.glob("*/result.png")) == ["01", "02", "03", "04"]
    weights = [read_spec(job.folder / name).spec.settings.style_weight for name in ("01", "03")]
    assert weights == [0.5, 2.0]
    assert (job.folder / "sheet.png").is_file()


def test_jobs_in_files_that_are_damaged_are_left_out(here: Path) -> None:
    queue = here / "damaged" / QUEUE
    queue.mkdir(parents=True)
    for number, order in enumerate([OneRun(spec_of(here)), Sheet(spec_of(here), ("size",))], start=1):
        keep(queue, Kept(number, here / "damaged/x", order, "paused", {"style_weight": 2.0}))
    (queue / "000003.json").write_text("{")
    (queue / "000004.json").write_text((queue / "000001.json").read_text().replace('"run"', '"walk"'))
    found = all_kept(queue)
    assert [each.order for each in found] == [OneRun(spec_of(here)), Sheet(spec_of(here), ("size",))]
    assert found[0].asked == {"style_weight": 2.0}


def test_the_worker_ends_if_its_program_is_killed(here: Path, tmp_path: Path) -> None:
    """The run that was being made has a checkpoint."""
    import subprocess
    import sys

    code = (
        "import sys, time; from pathlib import Path\n"
        "from impasto.folders.specfiles import read_spec; from impasto.jobs.queue import Jobs\n"
        "if __name__ == '__main__':\n"
        "    jobs = Jobs(Path(sys.argv[2])); job = jobs.add(read_spec(Path(sys.argv[1])).spec)\n"
        "    while jobs.job(1).step is None or jobs.job(1).step.step < 3: time.sleep(.01)\n"
        "    print(job.folder, flush=True); time.sleep(600)\n"
    )
    script = tmp_path / "program.py"
    script.write_text(code)
    (tmp_path / "spec.toml").write_text(spec_toml(spec_of(here, steps=100_000)), "utf-8")
    words = [sys.executable, str(script), str(tmp_path / "spec.toml"), str(tmp_path / "runs")]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        folder = Path(program.stdout.readline().strip())
        children = psutil.Process(program.pid).children()
        os.kill(program.pid, signal.SIGKILL)
    psutil.wait_procs(children, timeout=300)
    assert not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children)
    assert read_run(folder).status == "interrupted"


@pytest.mark.parametrize(
    ("code", "words"), [(-9, "SIGKILL, perhaps because"), (-11, "by SIGSEGV;"), (3, "exit code 3")]
)
def test_how_a_process_died(code: int, words: str) -> None:
    assert words in how_it_died(code)


def test_there_is_no_such_job(jobs: Jobs) -> None:
    with pytest.raises(SpecError, match="no job 999"):
        jobs.job(999)
