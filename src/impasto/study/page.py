"""The page of a study, finished or not: a section from each kind of run, and a list of the missing runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from impasto.errors import ImageError, RunFolderError
from impasto.folders.records import PictureRecord, RunRecord
from impasto.pages.blocks import LARGE_PX, MEDIUM_PX, Figure, Row, Table, text_table
from impasto.pages.credits import network_credits, picture_credits
from impasto.pages.curves import total_curves
from impasto.pages.rendering import render, save_page
from impasto.pages.run_page import about_run
from impasto.pages.sections import (
    Inputs,
    grid_row,
    input_figures,
    measured,
    measures_table,
    open_inputs,
    result_figure,
    run_curves,
    scrubber,
    sliders,
    terms_table,
)
from impasto.pages.words import duration, number, repeat_command
from impasto.study.network_section import network_section
from impasto.study.plan import PLAIN, Member, Section, Study
from impasto.study.profile import Profile

STUDY_PAGE = "report.html"
FRAMES = 80  # in all the films of one scrubber
HEADINGS: dict[Section, str] = {
    "layers": "What each layer keeps",
    "priors": "Natural pictures",
    "amalgamation": "Amalgamation",
    "style": "What style is",
    "matrix": "How much style, which content",
    "final": "The final picture",
}


@dataclass(frozen=True)
class Done:
    """A finished run of the study, and what its folder holds."""

    member: Member
    record: RunRecord


def write_study_page(study: Study, folder: Path, records: Mapping[str, RunRecord], profile: Profile) -> Path:
    """Write report.html into the study's folder. Raises RunFolderError if a picture of a run is damaged."""
    return save_page(study_page(study, records, profile, study.command(folder)), folder / STUDY_PAGE)


def study_page(study: Study, records: Mapping[str, RunRecord], profile: Profile, command: str) -> str:
    """The whole page of the parts in `records`; `command` is the one that makes the study."""
    done = [Done(member, records[member.name]) for member in study.members if member.name in records]
    by_section = {section: [each for each in done if each.member.section == section] for section in HEADINGS}
    pictures = [
        PictureRecord("content", study.content, study.content),
        PictureRecord("style", study.style, study.style),
    ]
    inputs = open_inputs(pictures)
    content, style = study.content.stem.replace("-", " "), study.style.stem.replace("-", " ")
    try:
        return render(
            "study.html",
            title=f"{content}, {style}, and what a network sees in them",
            study=study,
            headings=HEADINGS,
            done=len(done),
            inputs=input_figures(pictures, inputs, LARGE_PX // 2),
            missing=_missing(study, records),
            network=network_section(study, profile),
            layers=_descents(by_section["layers"], "Loss of each layer"),
            priors=_priors(study, records, inputs),
            amalgamation=_descents(by_section["amalgamation"], "Loss of each layer"),
            style=_styles(by_section["style"], inputs),
            matrix=_matrix(study, records),
            content_weight=PLAIN["content_weight"],
            final=_final(by_section["final"], inputs),
            command=command,
            repeat=_repeat(by_section),
            parts=_members(done),
            shared=_shared(study),
            provenance=_provenance(done),
            facts=_facts(study, done),
            networks=network_credits([each.record for each in done]),
            credits=picture_credits(pictures),
        )
    except ImageError as error:
        raise RunFolderError(f"a folder of the study is damaged: {error}") from None


def _missing(study: Study, records: Mapping[str, RunRecord]) -> dict[Section, list[str]]:
    """The missing runs of each section, in words."""
    left = [member for member in study.members if member.name not in records]
    return {section: [member.words for member in left if member.section == section] for section in HEADINGS}


def _descents(done: Sequence[Done], title: str) -> dict[str, Any]:
    """A grid of the runs' frames, one scrubber for all, their losses on the same axes, and their measures."""
    records = [each.record for each in done]
    lines = {each.member.layer: each.record.parts[0].lines for each in done}
    return {
        "grid": [grid_row(record.parts[0]) for record in records],
        "scrubber": scrubber(records, MEDIUM_PX, [""] * len(records), FRAMES) if records else None,
        "curves": total_curves(title, lines) if lines else None,
        "measures": measures_table([("", record) for record in records]) if records else None,
    }


def _priors(study: Study, records: Mapping[str, RunRecord], inputs: Inputs) -> list[Row]:
    """For each layer, the photo and its inversions without and with priors."""
    rows = []
    without = {
        member.layer: records[member.name]
        for member in study.members
        if member.section == "layers" and member.name in records
    }
    for member in study.members:
        if member.section != "priors" or member.name not in records or member.layer not in without:
            continue
        figures = input_figures(records[member.name].pictures, inputs, MEDIUM_PX)
        for words, record in (("without priors", without[member.layer]), ("with priors", records[member.name])):
            figures += _results(record, words, f"{member.layer} {words}")
        rows.append(Row(member.layer, "", tuple(figures)))
    return rows


def _styles(done: Sequence[Done], inputs: Inputs) -> list[Figure]:
    """The painting, and the textures of its layers."""
    if not done:
        return []
    figures = input_figures(done[0].record.pictures, inputs, MEDIUM_PX)
    for each in done:
        figures += _results(each.record, f"up to {each.member.layer}", f"texture up to {each.member.layer}")
    return figures


def _matrix(study: Study, records: Mapping[str, RunRecord]) -> dict[str, Any]:
    """A row for each content layer, a column for each style weight; None for a run that is missing."""
    cells = {}
    for member in study.members:
        if member.section == "matrix":
            weight = member.spec.settings.model_dump()["style_weight"]
            found = _results(records[member.name], "", member.words) if member.name in records else []
            cells[member.layer, weight] = found[0] if found else None
    layers, weights = dict.fromkeys(layer for layer, _ in cells), dict.fromkeys(weight for _, weight in cells)
    return {
        "weights": [number(weight) for weight in weights],
        "rows": [(layer, [cells[layer, weight] for weight in weights]) for layer in layers],
        "made": any(cells.values()),
    }


def _results(record: RunRecord, caption: str, alt: str) -> list[Figure]:
    figure = result_figure(record.parts[0], MEDIUM_PX, caption, _nearness(record), alt)
    return [figure] if figure is not None else []


def _nearness(record: RunRecord) -> str:
    """Feature error at the run's layer and PSNR, a line each; for a texture, its loss."""
    summary = record.parts[0].summary
    if summary is None or not summary.metrics.feature_error:
        return measured(record.parts[0])
    decibels = f"\nPSNR {summary.metrics.psnr:.1f} dB" if summary.metrics.psnr is not None else ""
    return f"e {number(next(iter(summary.metrics.feature_error.values())))}{decibels}"


def _final(done: Sequence[Done], inputs: Inputs) -> dict[str, Any] | None:
    if not done:
        return None
    record = done[0].record
    return {
        "sliders": sliders(record, inputs, LARGE_PX),
        "scrubber": scrubber([record], 384),
        "curves": run_curves(record),
        "terms": terms_table(record),
        "measures": measures_table([("", record)]),
    }


def _repeat(by_section: Mapping[Section, Sequence[Done]]) -> list[tuple[str, str]]:
    """The commands that repeat each section's runs."""
    return [
        (HEADINGS[section], "\n".join(repeat_command(each.record) for each in done))
        for section, done in by_section.items()
        if done
    ]


def _members(done: Sequence[Done]) -> Table:
    """The size and steps of each run, and its evaluations and time."""
    rows = []
    for each in done:
        settings, summary = each.member.spec.settings, each.record.parts[0].summary
        took = ("–", "–") if summary is None else (str(summary.evaluations), duration(summary.seconds))
        rows.append((each.member.words, f"{settings.size} px", str(settings.steps), *took, each.member.name))
    return text_table(("part", "long side", "steps at full size", "evaluations", "time", "folder"), rows)


def _shared(study: Study) -> Table:
    """The settings that all runs share."""
    all_settings = [member.spec.settings.model_dump(mode="json", exclude_none=True) for member in study.members]
    same = {
        key: value for key, value in all_settings[0].items() if all(each.get(key) == value for each in all_settings)
    }
    return text_table(("setting", "value"), [(key, str(value)) for key, value in same.items()])


def _provenance(done: Sequence[Done]) -> Table | None:
    """Versions, machine and hashes of the last run."""
    return about_run(done[-1].record)["provenance"] if done else None


def _facts(study: Study, done: Sequence[Done]) -> list[tuple[str, str]]:
    """Runs, time, evaluations, memory and seed of the study."""
    summaries = [part.summary for each in done for part in each.record.parts if part.summary is not None]
    return [
        ("parts", f"{len(done)} of {len(study.members)}"),
        ("time", duration(sum(each.seconds for each in summaries))),
        ("evaluations", str(sum(each.evaluations for each in summaries))),
        ("peak memory", f"{max((each.peak_memory_mb for each in summaries), default=0):.0f} MB"),
        ("seed", str(study.settings.seed)),
        ("extent", "quick" if study.settings.quick else "full"),
    ]
