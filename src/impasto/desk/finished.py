"""What the pages show of a run's folder, as HTML: its title, links to its files, its losses and settings."""

import tomllib
from collections.abc import Mapping
from html import escape
from typing import Any

from impasto.desk.drawing import curves
from impasto.folders.names import ANIMATION, PAGE, RESULT, SETTINGS_FILE
from impasto.folders.records import RunRecord
from impasto.pages.words import duration
from impasto.tasks.spec import Change
from impasto.tasks.table import TASKS, part_title

ANIMATED = "progress.webp"
FILES = {
    "Picture (PNG)": RESULT,
    "Animation (GIF)": ANIMATION,
    "Animation (WebP)": ANIMATED,
    "Report": PAGE,
    "Settings": SETTINGS_FILE,
}


def heading(record: RunRecord) -> str:
    """Title, status, and links to the files."""
    title = TASKS[record.spec.task].title(record.spec.settings, [path.stem for path in record.spec.pictures])
    seconds = sum(part.summary.seconds for part in record.parts if part.summary is not None)
    words = " · ".join((record.name, record.status, record.progress, duration(seconds)))
    reason = f'<p class="sentence">{escape(record.reason)}</p>' if record.reason else ""
    return f"<h2>{escape(title)}</h2><p>{escape(words)}</p>{reason}{links(record)}"


def links(record: RunRecord) -> str:
    """Links to the files of a run, and to those that are made if asked for.

    Files that are made may fail: the sentence then comes on a page of its own, in place of the file.
    """
    name = escape(record.name)
    there = {words: file for words, file in FILES.items() if (record.folder / file).is_file()}
    found = [
        f'<a href="files/{name}/{file}"{"" if file == PAGE else " download"} target="_blank">{words}</a>'
        for words, file in there.items()
    ]
    first = record.parts[0]
    finished = first.result is not None and len(record.planned) == 1
    made = {"16 bits (TIFF)": ("tiff", finished), "Video (MP4)": ("video", finished and bool(first.frames))}
    asked = [f'<a href="{kind}/{name}" target="_blank">{words}</a>' for words, (kind, can) in made.items() if can]
    whole = f'<a href="zip/{name}" target="_blank">Whole folder (ZIP)</a>'
    return f'<p class="links">{" ".join([*found, *asked, whole])}</p>'


def losses(record: RunRecord) -> str:
    """The losses of each part as curves, each below its title if there are several."""
    drawn = [(part.name, curves([line.losses for line in part.lines])) for part in record.parts]
    return "".join(f"<h3>{escape(part_title(name))}</h3>{lines}" if name else lines for name, lines in drawn)


def detail(record: RunRecord) -> str:
    """Pictures of several parts, the animation, curves, what was changed, and all settings."""
    name, shown = escape(record.name), []
    if len(record.planned) > 1 or record.parts[0].result is not None:
        shown.append(f'<img src="files/{name}/{RESULT}" alt="The result">')
    if (record.folder / ANIMATED).is_file():
        shown.append(f'<img src="files/{name}/{ANIMATED}" alt="How the picture was painted">')
    changes = "".join(map(_change, record.spec.changes))
    changed = f"<h3>Changed while it painted</h3><ul>{changes}</ul>" if changes else ""
    return f'<div class="shown">{"".join(shown)}</div>{losses(record)}{changed}{_settings(record.toml)}'


def _change(change: Change) -> str:
    part = f" of {change.part}" if change.part else ""
    values = ", ".join(f"{name} {value}" for name, value in change.settings.items())
    return f"<li>{escape(f'from step {change.step + 1}{part} on: {values}')}</li>"


def _settings(toml: str) -> str:
    read: Mapping[str, Any] = tomllib.loads(toml)
    rows = {"preset": read.get("preset", "default"), **read.get("settings", {})}
    cells = "".join(
        f"<tr><th scope=row>{escape(str(key))}</th><td>{escape(str(value))}</td></tr>" for key, value in rows.items()
    )
    return f"<details><summary>All settings</summary><table>{cells}</table></details>"
