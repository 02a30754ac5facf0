"""A study: the runs of a plan one after the other, in one folder, with one page that tells what they show.

The folder is all the memory there is. A run whose folder says that it is done, with the same settings and pictures, is
not made again; so the same command goes on where the last one stopped, however that ended.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import ValidationError

from impasto.errors import InterruptedRunError
from impasto.events import Listener, MemberBegun, PageFailed, SeriesDone, silent
from impasto.files import sha256, write_bytes
from impasto.folders.places import folder_name
from impasto.folders.records import RunRecord, read_run
from impasto.images.files import load_picture
from impasto.images.image import Image
from impasto.runs.stopping import Stop, go_on_unless
from impasto.series.members import check_all, finished, make
from impasto.series.places import is_free, taken
from impasto.study.page import STUDY_PAGE, write_study_page
from impasto.study.plan import Study
from impasto.study.profile import Profile, measure_profile

STUDY_FILE, ACTIVATIONS = "study.toml", "activations.json"


def run_study(
    study: Study,
    out: Path | None = None,
    *,
    force: bool = False,
    stop: Stop = None,
    listener: Listener = silent,
) -> Path:
    """Make what is missing of a study and return its folder, by default runs/study-CONTENT-STYLE.

    Its page is written anew after each run. Nothing is written before pictures, layers and sizes are known to serve.
    With `force` a folder that holds another study is replaced, and nothing in it is used again. A run that fails or is
    stopped raises its ImpastoError; the same call goes on from there. `stop` and `listener` are as for `run`.
    """
    folder = out or default_folder(study)
    pictures = {path: load_picture(path) for path in (study.content, study.style)}
    about = _about(study)
    fresh = is_free(folder, STUDY_FILE, about, list(pictures), force=force)
    hashes = {path: sha256(path) for path in pictures}
    records = {} if fresh else _finished(study, folder, hashes)
    check_all([part.spec for part in study.parts if part.name not in records], pictures)
    try:
        with taken(folder, STUDY_FILE, about, fresh=fresh):
            profile = _profile(folder, [picture.image for picture in pictures.values()], study.settings.device)
            _make_parts(study, folder, records, profile, hashes, stop, listener)
    except (KeyboardInterrupt, InterruptedRunError):
        raise InterruptedRunError(f"stopped; the same command goes on with {folder}") from None
    listener(SeriesDone(folder, folder / STUDY_PAGE))
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
    stop: Stop,
    listener: Listener,
) -> None:
    count = len(study.parts)
    for number, part in enumerate(study.parts, start=1):
        if part.name in records:
            continue
        go_on_unless(stop)
        listener(MemberBegun(number, count, part.name, part.words))
        make(part.spec, folder / part.name, hashes, stop=stop, listener=listener)
        records[part.name] = read_run(folder / part.name)
        _write_page(study, folder, records, profile, listener)
    write_study_page(study, folder, records, profile)


def _write_page(
    study: Study, folder: Path, records: Mapping[str, RunRecord], profile: Profile, listener: Listener
) -> None:
    """A page that cannot be made on the way is said in a sentence; the pictures are worth more."""
    try:
        write_study_page(study, folder, records, profile)
    except Exception as error:  # whatever it is
        listener(PageFailed(folder / STUDY_PAGE, str(error) or type(error).__name__))


def _about(study: Study) -> str:
    """What makes it this study and no other, for study.toml; where its pictures lie is not part of it."""
    settings = study.settings.model_dump(mode="json", exclude_none=True)
    content: dict[str, Any] = {
        "pictures_sha256": [sha256(study.content), sha256(study.style)],
        "settings": settings,
    }
    return tomli_w.dumps(content)


def _finished(study: Study, folder: Path, hashes: Mapping[Path, str]) -> dict[str, RunRecord]:
    """The runs that need not be made again, by name."""
    found = {part.name: finished(part.spec, folder / part.name, hashes) for part in study.parts}
    return {name: record for name, record in found.items() if record is not None}


def _profile(folder: Path, images: Sequence[Image], device: str) -> Profile:
    """What was measured before, or measured now."""
    path = folder / ACTIVATIONS
    try:
        return Profile.model_validate_json(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, ValidationError):
        profile = measure_profile(images, device)
        write_bytes(path, profile.model_dump_json().encode())
        return profile
