"""A study: the runs of a plan one after the other, in one folder, with one page that tells what they show.

The folder is all the memory there is. A run whose folder says that it is done, with the same settings and pictures, is
not made again; so the same command goes on where the last one stopped, however that ended.
"""

import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import ValidationError

from impasto.catalogue import open_network
from impasto.checkpoints import FOLDER
from impasto.checks import check, sentence_for_memory
from impasto.errors import InterruptedRunError, OutputError, RunFolderError, SpecError
from impasto.folders import folder_name
from impasto.images import Image, Picture, load_picture, write_bytes
from impasto.networks import Network
from impasto.parts import compose
from impasto.plans import Study, StudyPart
from impasto.profiles import Profile, measure_profile
from impasto.recorders import print_json
from impasto.records import RunRecord, read_run
from impasto.runs import resume, run
from impasto.specfiles import read_spec
from impasto.specs import RunSpec
from impasto.study_page import STUDY_PAGE, write_study_page
from impasto.watching import Show
from impasto.weights import sha256

STUDY_FILE, ACTIVATIONS = "study.toml", "activations.json"


def run_study(study: Study, out: Path | None = None, *, force: bool = False, show: Show = "progress") -> Path:
    """Make what is missing of a study and return its folder, by default runs/study-CONTENT-STYLE.

    Its page is written anew after each run. Nothing is written before pictures, layers and sizes are known to serve.
    With `force` a folder that holds another study is replaced, and nothing in it is used again. A run that fails or is
    interrupted raises its ImpastoError; the same call goes on from there.
    """
    folder = out or default_folder(study)
    pictures = {path: load_picture(path) for path in (study.content, study.style)}
    about = _about(study)
    fresh = _is_free(folder, study, about, force=force)
    hashes = {path: sha256(path) for path in pictures}
    records = {} if fresh else _finished(study, folder, hashes)
    _check([part for part in study.parts if part.name not in records], pictures)
    try:
        if fresh and folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
        write_bytes(folder / STUDY_FILE, about.encode())
    except OSError as error:
        raise OutputError(f"{folder} cannot be made: {error.strerror or error}") from None
    try:
        profile = _profile(folder, [picture.image for picture in pictures.values()], study.settings.device)
        _make_parts(study, folder, records, profile, hashes, show)
    except (KeyboardInterrupt, InterruptedRunError):
        raise InterruptedRunError(f"stopped; the same command goes on with {folder}") from None
    if show == "json":
        print_json({"event": "done", "folder": str(folder), "page": str(folder / STUDY_PAGE)})
    return folder


def default_folder(study: Study) -> Path:
    """runs/study-CONTENT-STYLE: always the same, so that the same command goes on with it."""
    name = "study-quick" if study.settings.quick else "study"
    return Path("runs") / folder_name(name, (study.content, study.style))


def _make_parts(
    study: Study,
    folder: Path,
    records: dict[str, RunRecord],
    profile: Profile,
    hashes: Mapping[Path, str],
    show: Show,
) -> None:
    count = len(study.parts)
    for number, part in enumerate(study.parts, start=1):
        if part.name in records:
            continue
        _say(f"part {number} of {count}: {part.words}", part, number, count, show)
        _start(part, folder / part.name, hashes, show)
        records[part.name] = read_run(folder / part.name)
        _write_page(study, folder, records, profile)
    write_study_page(study, folder, records, profile)


def _start(part: StudyPart, folder: Path, hashes: Mapping[Path, str], show: Show) -> None:
    """Make one run: on from its last checkpoint where there is one of the same run, else from its beginning."""
    quiet = show == "progress" and not sys.stderr.isatty()  # for a log, a line for each part is enough
    shown: Show = "nothing" if quiet else show
    try:
        found = read_spec(folder)
        if _is_same(part, found.spec, found.provenance, hashes):
            resume(folder, show=shown)
            return
    except (SpecError, RunFolderError):
        pass  # not begun, or not to be gone on with
    if folder.exists():
        shutil.rmtree(folder)
    run(part.spec, folder, show=shown)


def _is_same(part: StudyPart, spec: RunSpec, provenance: Mapping[str, Any], hashes: Mapping[Path, str]) -> bool:
    """Whether a run does what the part asks for, with the same pictures."""
    pictures = provenance.get("pictures_sha256") == [hashes[path] for path in part.spec.pictures]
    return pictures and (spec.task, spec.settings) == (part.spec.task, part.spec.settings)


def _say(words: str, part: StudyPart, number: int, count: int, show: Show) -> None:
    if show == "json":
        print_json({"event": "part", "part": number, "parts": count, "name": part.name, "words": part.words})
    elif show == "progress":
        print(words, file=sys.stderr, flush=True)


def _write_page(study: Study, folder: Path, records: Mapping[str, RunRecord], profile: Profile) -> None:
    """A page that cannot be made on the way is said in a sentence; the pictures are worth more."""
    try:
        write_study_page(study, folder, records, profile)
    except Exception as error:  # whatever it is
        print(f"{folder / STUDY_PAGE} is not written: {error or type(error).__name__}", file=sys.stderr)


# What is there already -----------------------------------------------------------------------------------------------


def _about(study: Study) -> str:
    """What makes it this study and no other, for study.toml; where its pictures lie is not part of it."""
    settings = study.settings.model_dump(mode="json", exclude_none=True)
    content: dict[str, Any] = {
        "pictures_sha256": [sha256(study.content), sha256(study.style)],
        "settings": settings,
    }
    return tomli_w.dumps(content)


def _is_free(folder: Path, study: Study, about: str, *, force: bool) -> bool:
    """Whether the folder is to be made afresh; False where it holds this study. Raises OutputError if it is taken."""
    try:
        if folder.exists() and not folder.is_dir():
            raise OutputError(f"{folder} is a file; name a folder with --out")
        if not folder.exists() or not any(folder.iterdir()):
            return True
    except OSError as error:
        raise OutputError(f"{folder} cannot be used: {error.strerror or error}") from None
    if not (folder / STUDY_FILE).is_file():
        raise OutputError(f"{folder} is not the folder of a study; name another with --out")
    if not force and (folder / STUDY_FILE).read_bytes() == about.encode():
        return False
    if not force:
        raise OutputError(
            f"{folder} holds a study of other pictures or with other settings; "
            "name another folder with --out, or replace it with --force"
        )
    for picture in (study.content, study.style):
        if picture.resolve().is_relative_to(folder.resolve()):
            raise OutputError(f"{folder} holds {picture}, which is needed, and is not replaced; name another folder")
    return True


def _finished(study: Study, folder: Path, hashes: Mapping[Path, str]) -> dict[str, RunRecord]:
    """The runs that need not be made again, by name."""
    found = {part.name: _record(part, folder / part.name, hashes) for part in study.parts}
    return {name: record for name, record in found.items() if record is not None}


def _record(part: StudyPart, folder: Path, hashes: Mapping[Path, str]) -> RunRecord | None:
    """The run in a folder, if it is done and is what the part asks for."""
    try:
        record = read_run(folder)
    except RunFolderError:
        return None
    ended = record.status == "done" and record.parts[0].result is not None and not (folder / FOLDER).exists()
    return record if ended and _is_same(part, record.spec, record.provenance, hashes) else None


def _profile(folder: Path, images: Sequence[Image], device: str) -> Profile:
    """What was measured before, or measured now."""
    path = folder / ACTIVATIONS
    try:
        return Profile.model_validate_json(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, ValidationError):
        profile = measure_profile(images, device)
        write_bytes(path, profile.model_dump_json().encode())
        return profile


def _check(parts: Sequence[StudyPart], pictures: Mapping[Path, Picture]) -> None:
    """Fail before anything is written where that can be known: pictures too small, memory too short."""
    networks: dict[str, Network] = {}
    for part in parts:
        settings = part.spec.settings
        given = [pictures[path] for path in part.spec.pictures]
        with sentence_for_memory(settings):
            if settings.padding not in networks:
                networks[settings.padding] = open_network(
                    settings.network, padding=settings.padding, precision=settings.precision, device=settings.device
                )
            for each in compose(part.spec, [picture.image for picture in given]):
                check(each, networks[settings.padding], part.spec, given)
