"""A study: the runs of a plan one after the other, in one folder, with one page that explains what they show.

The folder is the only state. A finished run with the same settings and pictures is kept: the same
command continues after the last one, however the last one ended.
"""

from collections.abc import Mapping, Sequence
from itertools import compress
from pathlib import Path

import tomli_w
from pydantic import ValidationError

from impasto.errors import InterruptedRunError
from impasto.events import Listener, MemberBegun, PageFailed, SeriesDone, silent
from impasto.files import write_bytes
from impasto.folders.named import PICTURES, Hashes, hash_files
from impasto.folders.owners import Ownership
from impasto.folders.places import folder_name, trace
from impasto.folders.records import RunRecord, read_run
from impasto.images.files import load_picture
from impasto.images.image import Image
from impasto.runs.stopping import Stop, go_on_unless
from impasto.series.members import check_all, finished, make_run, networks_for, require_no_other
from impasto.series.places import is_free, taken
from impasto.study.page import STUDY_PAGE, write_study_page
from impasto.study.plan import Study
from impasto.study.profile import Profile, measure_layers, measure_profile

STUDY_FILE, ACTIVATIONS = "study.toml", "activations.json"


def run_study(
    study: Study,
    out: Path | None = None,
    *,
    force: bool = False,
    stop: Stop = None,
    listener: Listener = silent,
) -> Path:
    """Make the missing runs of a study and return its folder, by default runs/study-CONTENT-STYLE.

    The page is rewritten after each run. Pictures, layers and sizes are checked before anything is written. With
    `force` a folder that holds a study is replaced, and nothing in the folder is used again. A run that fails or is
    stopped raises its ImpastoError; the same call continues the study. `stop` and `listener` are as for `run`.
    """
    folder = out or default_folder(study)
    networks = networks_for(member.spec for member in study.members)
    pictures = {path: load_picture(path) for path in (study.content, study.style)}

    hashes = hash_files(member.spec for member in study.members)
    about, before = _about(study, hashes), trace(folder, STUDY_FILE)
    fresh = is_free(folder, STUDY_FILE, about, [member.spec for member in study.members], force=force)
    if not fresh:
        require_no_other(((member.spec, folder / member.name) for member in study.members), hashes)
    records = {} if fresh else _finished(study, folder, hashes)
    check_all(compress(networks, [member.name not in records for member in study.members]), pictures)

    try:
        with taken(folder, STUDY_FILE, about, fresh=fresh, before=before) as ownership:
            profile = _profile(folder, [picture.image for picture in pictures.values()], study)
            _make_members(study, ownership, records, profile, hashes, stop, listener)
    except (KeyboardInterrupt, InterruptedRunError):
        raise InterruptedRunError(f"stopped; the same command continues in {folder}") from None
    listener(SeriesDone(folder, folder / STUDY_PAGE))
    return folder


def default_folder(study: Study) -> Path:
    """runs/study-CONTENT-STYLE, with the network if one is chosen: the same command always has the same folder."""
    settings, words = study.settings, ["study"]
    words += ["quick"] if settings.quick else []
    words += [settings.network.rpartition(":")[2].replace("/", "-")] if settings.network else []
    words += [settings.weights.stem] if settings.weights else []
    words += [] if settings.random_weights is None else [f"untrained-{settings.random_weights}"]
    return Path("runs") / folder_name("-".join(words), (study.content, study.style))


def _make_members(
    study: Study,
    ownership: Ownership,
    records: dict[str, RunRecord],
    profile: Profile,
    hashes: Hashes,
    stop: Stop,
    listener: Listener,
) -> None:
    folder, count = ownership.folder, len(study.members)
    for number, member in enumerate(study.members, start=1):
        if member.name in records:
            continue
        go_on_unless(stop)
        listener(MemberBegun(number, count, member.name, member.words))
        make_run(member.spec, folder / member.name, hashes, stop=stop, listener=listener)
        ownership.require()
        records[member.name] = read_run(folder / member.name)
        _write_page(study, folder, records, profile, listener)
    write_study_page(study, folder, records, profile)


def _write_page(
    study: Study, folder: Path, records: Mapping[str, RunRecord], profile: Profile, listener: Listener
) -> None:
    """Write the page; a page that cannot be written is reported and does not end the study."""
    try:
        write_study_page(study, folder, records, profile)
    except Exception as error:  # no fault of the page may end the study
        listener(PageFailed(folder / STUDY_PAGE, str(error) or type(error).__name__))


def _about(study: Study, hashes: Hashes) -> str:
    """The content of study.toml, which identifies the study: settings and hashes, not the pictures' paths."""
    settings = study.settings.model_dump(mode="json", exclude_none=True)
    return tomli_w.dumps({PICTURES: [hashes[study.content], hashes[study.style]], "settings": settings})


def _finished(study: Study, folder: Path, hashes: Hashes) -> dict[str, RunRecord]:
    """The finished runs, by name."""
    found = {member.name: finished(member.spec, folder / member.name, hashes) for member in study.members}
    return {name: record for name, record in found.items() if record is not None}


def _profile(folder: Path, images: Sequence[Image], study: Study) -> Profile:
    """The profile kept in the folder, or else measured now."""
    path = folder / ACTIVATIONS
    try:
        return Profile.model_validate_json(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, ValidationError):
        profile = _measured(images, study)
        write_bytes(path, profile.model_dump_json().encode())
        return profile


def _measured(images: Sequence[Image], study: Study) -> Profile:
    """The profile of the usual networks, or of the one that the study is of."""
    if not study.settings.chooses_network:
        return measure_profile(images, study.settings.device)
    return measure_layers(study.settings.choice().open("float32"), study.extent.layers, images)
