"""Numbers, sizes, durations and commands as text for pages."""

import math
import shlex

from impasto.extras import own_version
from impasto.folders.records import RunRecord
from impasto.tasks.table import TASKS


def number(value: float | None) -> str:
    """Three significant digits, or a dash if there is no finite number."""
    if value is None or not math.isfinite(value):
        return "–"
    mantissa, e, exponent = f"{value:.3g}".partition("e")
    return f"{mantissa}·10{str(int(exponent)).translate(_RAISED)}" if e else mantissa


_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def size_words(size: tuple[int, int]) -> str:
    """A size (height, width) in words: width × height."""
    return f"{size[1]} × {size[0]} px"


def duration(seconds: float) -> str:
    """Seconds, minutes or hours in words."""
    if round(seconds) < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def listed(value: object) -> str:
    """A value of run.toml in words: lists with commas, tables as "key: value; key: value"."""
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "; ".join(f"{key}: {listed(each)}" for key, each in value.items()) if isinstance(value, dict) else str(value)


def repeat_command(record: RunRecord) -> str:
    """The shell command that repeats a run.

    Settings at their defaults are left out, unless the run is from another version, whose defaults may differ.
    """
    spec, settings = record.spec, record.spec.settings.model_dump(mode="json", exclude_none=True)
    if record.provenance.get("impasto") == own_version():
        usual = TASKS[spec.task].usual_settings(spec.settings.network)
        settings = {name: value for name, value in settings.items() if value != usual.get(name)}
    if "threads" in record.provenance:  # the rounding of sums depends on the number of threads
        settings.setdefault("threads", record.provenance["threads"])
    words = ["impasto", spec.task]
    words += [f"./{path}" if str(path).startswith("-") else str(path) for path in spec.pictures]
    for name, value in [(key, each) for key, given in settings.items() for each in _several(given)]:
        option = f"--{name.replace('_', '-')}"
        if isinstance(value, bool):
            words.append(option if value else option.replace("--", "--no-", 1))
        elif not str(value) or str(value).startswith("-"):
            words.append(f"{option}={value}")
        else:
            words += [option, str(value)]
    return shlex.join(words)


def _several(value: object) -> list[object]:
    """The values of an option that may be repeated; else the value alone."""
    return value if isinstance(value, list) else [value]
