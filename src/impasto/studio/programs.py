"""The same for programs: what `gradio_client` can call over HTTP, such as a picture editor's plugin."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gradio as gr

from impasto.desk.desk import Desk
from impasto.errors import SpecError
from impasto.folders.names import RESULT
from impasto.jobs.queue import Job
from impasto.studio.answers import sentences


def programs(desk: Desk) -> None:
    """Add what programs can call to the present Blocks."""
    with gr.Row(visible=False):
        task, pictures = gr.Textbox(), gr.File(file_count="multiple")
        preset, settings, begun = gr.Textbox("default"), gr.JSON(), gr.JSON()
        gr.Button().click(
            lambda *given: _begin(desk, *given), [task, pictures, preset, settings], begun, api_name="paint"
        )
        number, picture = gr.Number(precision=0), gr.File()
        gr.Button().click(lambda job: _picture(desk, job), number, picture, api_name="picture")

        kept, named = gr.File(), gr.Textbox()
        gr.Button().click(lambda file: _kept(desk, file), kept, named, api_name="keep")

    def look(job: int) -> dict[str, Any]:
        with sentences():
            return about(desk.jobs.job(job))

    def jobs() -> list[dict[str, Any]]:
        return [about(job) for job in desk.jobs.all()]

    def pause(job: int) -> dict[str, Any]:
        with sentences():
            desk.jobs.pause(job)
        return look(job)

    def go_on(job: int) -> dict[str, Any]:
        with sentences():
            desk.jobs.go_on(job)
        return look(job)

    def stop(job: int) -> dict[str, Any]:
        with sentences():
            desk.jobs.stop(job)
        return look(job)

    def change(job: int, settings: dict[str, Any]) -> dict[str, Any]:
        with sentences():
            desk.change(job, settings)
        return look(job)

    def resume(run: str) -> dict[str, Any]:
        with sentences():
            return about(desk.resume(run))

    def enlarge(run: str, size: int) -> dict[str, Any]:
        with sentences():
            return about(desk.enlarge(desk.record(run).folder, size))

    for function in (look, jobs, pause, go_on, stop, change, resume, enlarge):
        gr.api(function, api_name=function.__name__, concurrency_limit=None)


def about(job: Job) -> dict[str, Any]:
    """A job as plain data."""
    step = job.step
    return {
        "job": job.number,
        "run": job.folder.name,
        "state": job.state,
        "step": 0 if step is None else step.step,
        "steps": 0 if step is None else step.steps,
        "losses": {} if step is None else dict(step.losses),
        "sentence": job.sentence,
    }


def _begin(desk: Desk, task: str, pictures: Any, preset: str, settings: Mapping[str, Any] | None) -> dict[str, Any]:
    files = [Path(str(each)) for each in (pictures or [])]
    with sentences():
        return about(desk.begin(task, files, preset or "default", settings or {}))


def _kept(desk: Desk, file: Any) -> str:
    """Keep a picture among the uploads; its name as settings take it, for a mask for instance."""
    with sentences():
        if file is None:
            raise SpecError("no picture was sent; send one")
        return desk.taken(Path(str(file))).relative_to(desk.runs).as_posix()


def _picture(desk: Desk, number: int) -> str:
    with sentences():
        file = desk.jobs.job(number).folder / RESULT
        if not file.is_file():
            raise SpecError(f"job {number} has no picture yet")
        return desk.handed_out(file)
