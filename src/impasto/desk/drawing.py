"""What the page shows of a run, as HTML: the picture, how far it is, and its losses as curves. All text is escaped."""

import base64
import math
import re
from collections.abc import Mapping, Sequence
from html import escape

from impasto.desk.places import UPLOADS
from impasto.jobs.queue import Job
from impasto.pages.words import duration, number, size_words

POINTS = 200  # of a curve: more are not seen
WIDTH, HEIGHT = 640, 180
SLIDE = (  # to the small picture that was pressed
    "const slider = this.closest('.layers').querySelector('input'); slider.value = this.value; slider.oninput()"
)
WORDS = {
    "waiting": "waiting for its turn",
    "running": "painting",
    "paused": "paused",
    "done": "done",
    "stopped": "stopped; the picture so far is kept",
    "failed": "ended early",
}


def as_data(jpeg: bytes) -> str:
    """A JPEG file as an address within the page."""
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"


def empty_sheet(words: str) -> str:
    """A sheet with nothing on it but a few words."""
    return f'<div class="sheet empty"><p>{escape(words)}</p></div>'


def canvas(source: str | None, alt: str) -> str:
    """The picture, or an empty sheet."""
    if source is None:
        return empty_sheet("Your picture appears here.")
    return f'<div class="sheet"><img src="{escape(source)}" alt="{escape(alt)}"></div>'


def slider(before: str, after: str, label: str, size: tuple[int, int]) -> str:
    """Two pictures of one size, one over the other, and a slider that says how much is seen of each."""
    wide, high = size
    move = "this.parentNode.style.setProperty('--at', this.value + '%')"
    return (
        f'<figure class="slider" style="--shape: {wide / high:.3f}"><img src="{before}" alt="Before">'
        f'<img class="over" src="{after}" alt="After">'
        f'<input type="range" min="0" max="100" value="50" aria-label="{escape(label)}" oninput="{move}">'
        f"<figcaption>{escape(label)}</figcaption></figure>"
    )


def layers_shown(
    runs: Sequence[tuple[str, Sequence[tuple[str, str]]]],
    originals: Sequence[tuple[str, str]] = (),
    each: str = "layer",
) -> str:
    """A slider through the layers (or units: `each`) of one run, or of several side by side, and all in small.

    Each run has its name, and for each layer a title and the address of a picture. At first the first layer is shown.
    The `originals`, each with its name, stand beside them all the time.
    """
    count = max((len(pictures) for _, pictures in runs), default=0)
    if count == 0:
        return f'<p class="hint">The first {escape(each)} is being painted.</p>'
    columns = "".join(
        f'<section><h2>{escape(name)}</h2><figure><img src="{escape(source)}" alt="{escape(name)}"></figure></section>'
        for name, source in originals
    )
    columns += "".join(_column(name, pictures) for name, pictures in runs)
    show = (
        "const all = this.closest('.layers'); all.querySelectorAll('[data-layer]').forEach("
        "each => {each.hidden = each.dataset.layer !== this.value}); layersShown[all.dataset.of] = this.value"
    )
    of = escape(" ".join(name for name, _ in runs))
    return (
        f'<div class="layers" data-of="{of}"><input type="range" min="0" max="{count - 1}" value="0" '
        f'aria-label="{escape(each.capitalize())}, from the first to the last" oninput="{show}">'
        f'<div class="columns">{columns}</div></div>'
    )


def _column(name: str, pictures: Sequence[tuple[str, str]]) -> str:
    large = "".join(
        f'<figure data-layer="{index}"{"" if index == 0 else " hidden"}><img src="{escape(source)}" '
        f'alt="{escape(title)} of {escape(name)}"><figcaption>{escape(title)}</figcaption></figure>'
        for index, (title, source) in enumerate(pictures)
    )
    small = "".join(
        f'<li><button type="button" onclick="{SLIDE}" value="{index}"><img src="{escape(source)}" alt="" '
        f'loading="lazy"><span>{escape(title)}</span></button></li>'
        for index, (title, source) in enumerate(pictures)
    )
    return f'<section><h2>{escape(name)}</h2>{large}<ul class="strip">{small}</ul></section>'


def status(job: Job) -> str:
    """How far a job is: a bar, and words."""
    step, words = job.step, [f"{job.title} {WORDS[job.state]}".strip().capitalize()]
    if job.wish is not None:
        words = [f"{words[0]}, {'pausing' if job.wish == 'paused' else 'stopping'} after this step"]
    share = 0.0
    if (member := job.member) is not None:
        part = step.done if step is not None else 0.0
        share = (member.number - 1 + part) / member.count
        words = [WORDS[job.state].capitalize(), f"{member.number} of {member.count}", member.about]
    elif step is not None:
        share = step.done
        words.append(f"step {step.step} of {step.steps}")
        words.append(size_words(step.size))
        if job.state == "running":
            words.append(f"about {duration(step.seconds_left)} left")
        words.append(f"loss {number(step.total)}")
    share = 1.0 if job.state == "done" else share
    kind = " failed" if job.state == "failed" else ""
    said = re.sub(f"{re.escape(str(job.folder.parent / UPLOADS))}/[0-9a-f]+/", "", job.sentence)  # names, not places
    shown = said and job.state not in ("done", "paused")  # a paused run goes on by a button, not by a command
    sentence = f'<p class="sentence{kind}">{escape(said)}</p>' if shown else ""
    return (
        f'<div class="status"><div class="bar" role="progressbar" aria-label="Progress" aria-valuemin="0" '
        f'aria-valuemax="100" aria-valuenow="{round(100 * share)}"><div style="width:{100 * share:.1f}%"></div></div>'
        f"<p>{escape(' · '.join(words))}</p>{sentence}</div>"
    )


def curves(losses: Sequence[Mapping[str, float]]) -> str:
    """The weighted loss of each group of terms (content, style …) at each step, on a scale of powers of ten."""
    lines: dict[str, list[tuple[int, float]]] = {}
    for at in sorted({round(k * (len(losses) - 1) / POINTS) for k in range(POINTS + 1)}) if len(losses) > 1 else []:
        sums: dict[str, float] = {}
        for name, value in losses[at].items():
            sums[name.partition("/")[0]] = sums.get(name.partition("/")[0], 0.0) + value
        for name, value in sums.items():
            if value > 0 and math.isfinite(value):
                lines.setdefault(name, []).append((at, math.log10(value)))
    values = [value for line in lines.values() for _, value in line]
    if not values:
        return ""
    low, high = min(values), max(max(values), min(values) + 0.1)
    drawn, legend = [], []
    for index, (name, line) in enumerate(lines.items()):
        points = " ".join(
            f"{WIDTH * at / (len(losses) - 1):.1f},{8 + (HEIGHT - 16) * (high - value) / (high - low):.1f}"
            for at, value in line
        )
        drawn.append(f'<polyline class="s{index % 8}" points="{points}"/>')
        legend.append(f'<li class="s{index % 8}">{escape(name)} <b>{number(10 ** line[-1][1])}</b></li>')
    words = ", ".join(f"{name} {number(10 ** line[-1][1])}" for name, line in lines.items())
    return (
        f'<div class="curves"><svg viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" role="img" '
        f'aria-label="Losses, now {escape(words)}">{"".join(drawn)}</svg><ul>{"".join(legend)}</ul></div>'
    )
