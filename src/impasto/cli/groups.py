"""Commands and the options of a task in groups, what matters first: how help is laid out."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from cyclopts import Group
from cyclopts.help import DefaultFormatter, HelpEntry, HelpPanel
from rich.console import Console, ConsoleOptions

EMPTY = "()"  # a default that says nothing
FIRST = "What matters first"
GROUPS = {
    FIRST: (
        "presets",
        "strengths",
        "strokes",
        "size",
        "layer",
        "layers",
        "channel",
        "neuron",
        "classes",
        "direction",
        "photos",
        "style-weight",
        "content-weight",
        "style-weights",
        "style-scale",
        "region",
        "colours",
        "seamless",
        "preset",
        "steps",
        "seed",
        "restarts",
    ),
    "Objective": (
        "content-layers",
        "style-layers",
        "statistics",
        "neighbours",
        "neighbour-layers",
        "layout",
        "layout-layers",
        "cumulative",
        "distance",
        "likeness",
        "smoothness",
        "smoothness-exponent",
        "contrast",
        "power",
        "patches",
        "shift",
        "turn",
        "zoom",
        "closest",
    ),
    "Descent": (
        "init",
        "noise",
        "smallest",
        "growth",
        "step-ratio",
        "rematches",
        "evaluations",
        "optimiser",
        "learning-rate",
        "learning-rate-final",
        "history",
        "parameterisation",
        "fourier-exponent",
        "leap",
        "dither",
    ),
    "Network": (
        "network",
        "weights",
        "random-weights",
        "preprocess",
        "means",
        "pooling",
        "padding",
    ),
    "Machine": (
        "precision",
        "device",
        "threads",
        "memory",
        "tile",
        "cluster",
    ),
    "Output": (
        "out",
        "force",
        "quiet",
        "json",
        "depth",
        "profile",
        "print",
        "frames",
        "mp4",
        "track",
        "checkpoint",
        "save-spec",
    ),
}


@dataclass(frozen=True)
class InGroups:
    """Shows a panel of options as one panel for each group; options that no group names stand at the end."""

    plain: DefaultFormatter = field(default_factory=DefaultFormatter)

    def __call__(self, console: Console, options: ConsoleOptions, panel: HelpPanel) -> None:
        """Print the panels."""
        for each in _panels(panel):
            self.plain(console, options, each)


def _panels(panel: HelpPanel) -> Iterator[HelpPanel]:
    left = [entry.copy(default=None) if entry.default == EMPTY else entry for entry in panel.entries]
    for title, names in GROUPS.items():
        entries = [entry for name in names for entry in left if _name(entry) == name]
        left = [entry for entry in left if entry not in entries]
        if entries:
            yield panel.copy(title=title, entries=entries)
    if left:
        yield panel.copy(title="More", entries=left)


def _name(entry: HelpEntry) -> str:
    return entry.positive_names[0].removeprefix("--") if entry.positive_names else ""


MAKE = Group.create_ordered("Make a picture")
UNITS = Group.create_ordered("See what units answer to")
MANY = Group.create_ordered("Make many")
LOOK = Group.create_ordered("Look and go on")
FINISH = Group.create_ordered("Finish a picture")
NETWORKS = Group.create_ordered("Networks")
OPTIONS = Group("Parameters", help_formatter=InGroups())
