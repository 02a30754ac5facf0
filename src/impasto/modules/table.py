"""The layers of a module by name, each with the map that it gives, and why others cannot be read.

A layer's name is its path in the module. The second call of a layer is "path:2", a tensor within a tuple "path.0", the
first token before the patches "path#cls", and the tokens between that and the patches "path#registers".
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from torch import nn

from impasto.errors import LayerError, NetworkError, nearest
from impasto.modules.arrangements import Arrangement, Grid, Prefix, Probe, Tokens, Vector, arrange
from impasto.modules.preprocess import Preprocess
from impasto.modules.probing import Output, Probed, Probing, Seen, settle


class Facts(NamedTuple):
    """What a list of layers says of one: `smallest_px` and `reach_px` are None if unknown.

    `stride` is None if the layer has one position for the whole picture, as tokens of classes do; `vector` says that
    the layer gives one vector and no map, as layers of classes do.
    """

    kind: str
    channels: int
    stride: int | None
    reach_px: int | None
    smallest_px: int | None
    notes: tuple[str, ...] = ()
    vector: bool = False


@dataclass(frozen=True)
class Row:
    """One map that can be read. `stride` is in pixels, `bytes_per_pixel` what autograd keeps of a picture up to here.

    `leaf` says that the layer is one operation, not a block of others; `calls` how often the layer is called.
    """

    name: str
    output: Output
    kind: str
    leaf: bool
    in_place: bool
    calls: int
    arrangement: Arrangement
    channels: int
    stride: int
    bytes_per_pixel: float
    overwritten: bool


@dataclass(frozen=True, eq=False)
class LayerTable:
    """All maps of a module in the order in which they are computed.

    `others` are the names that cannot be read, with the reasons; `aliases` are other names of layers.
    """

    rows: dict[str, Row]
    others: dict[str, str]
    aliases: dict[str, str]
    preprocess: Preprocess
    probing: Probing = field(repr=False)

    def ladder(self) -> tuple[str, ...]:
        """The layers that relative depths count: single operations with more than one position, or else all."""
        side = max(max(size) for size in self.probing.known)
        found = tuple(
            name for name, row in self.rows.items() if row.leaf and "#" not in name and 2 * row.stride <= side
        )
        return found or tuple(self.rows)

    def facts(self, name: str) -> Facts:
        """What is known of a layer."""
        row = self.rows[name]
        notes = [f"called {row.calls} times"] if row.calls > 1 else []
        notes += ["in place"] if row.in_place else []
        notes += ["overwritten later, so copied"] if row.overwritten else []
        notes += [f"also {alias}" for alias, own in self.aliases.items() if own == name]
        stride = None if isinstance(row.arrangement, (Vector, Prefix)) else row.stride
        vector = isinstance(row.arrangement, Vector)
        return Facts(row.kind, row.channels, stride, None, self.smallest_side(name), tuple(notes), vector)

    def smallest_side(self, name: str) -> int | None:
        """The least side of a square picture for which the layer gives a map; None if larger ones may fail."""
        most = max(max(size) for size in self.probing.known)
        return self.probing.smallest(self.rows[name].output, most)


def tabulate(
    probing: Probing, preprocess: Preprocess, name: str, chosen: Sequence[str] | None, tokens: int | None
) -> LayerTable:
    """The table of a module's layers, or of the `chosen` ones. Raises NetworkError, LayerError."""
    preprocess, probes, refused = settle(probing, preprocess, name)
    if not probes[0].outputs:
        raise NetworkError(
            f"{name} never calls its layers, as in programs that were exported or compiled as a whole; "
            "give the module that the program was made from"
        )
    names = _names(probing.module)
    outputs = [output for output in probes[0].outputs if all(output in probe.outputs for probe in probes)]
    calls = Counter(output.path for output in outputs if output.part == _first_part(outputs, output))
    rows, others, grids = dict[str, Row](), dict[str, str](), list[tuple[float, float]]()
    for output in outputs:
        seen = [probe.outputs[output] for probe in probes]
        shapes = [Probe(probe.size, each.shape) for probe, each in zip(probes, seen, strict=True)]
        label = _label(output, calls[output.path], names)
        arrangement = arrange(shapes, grids, tokens)
        if isinstance(arrangement, str):
            others[label] = arrangement
            continue
        for made in _rows(label, output, arrangement, probes[-1], seen[-1], probing.module, calls[output.path]):
            rows[made.name] = made
        if isinstance(arrangement, Grid) and (stride := _strides(shapes[-1], arrangement)) not in grids:
            grids.insert(0, stride)
    others |= _unreadable(probes, names, outputs, refused, calls)
    aliases = _aliases(probing.module, rows) | _single_parts(rows, others, outputs)
    table = LayerTable(rows, {n: why for n, why in others.items() if n not in aliases}, aliases, preprocess, probing)
    if not rows:
        first, why = next(iter(others.items()))
        raise NetworkError(f"{name} has no layer that gives a map: {first} cannot be read, because {why}")
    return table if chosen is None else _only(table, chosen, name)


NEVER = "never runs as a module: its parent computes without calling it, or not at all"


def _names(module: nn.Module) -> list[str]:
    return [path for path, _ in module.named_modules(remove_duplicate=False) if path]


def _first_part(outputs: Iterable[Output], output: Output) -> str:
    return next(each.part for each in outputs if each[:2] == output[:2])


def _label(output: Output, calls: int, taken: Sequence[str]) -> str:
    """The name of an output: its path, which call if there are several, and which part of a tuple."""
    name = output.path if calls == 1 else f"{output.path}:{output.call}"
    part = f"{name}{output.part}"
    return part if not output.part or part not in taken else f"{name}[{output.part[1:]}]"


def _rows(
    label: str, output: Output, arrangement: Arrangement, probed: Probed, seen: Seen, module: nn.Module, calls: int
) -> list[Row]:
    """The row of an output, and further rows for its prefix tokens."""
    layer = module.get_submodule(output.path)
    height, width = probed.size
    pixels = height * width
    strides = _strides(Probe(probed.size, seen.shape), arrangement)
    row = Row(
        name=label,
        output=output,
        kind=type(layer).__name__,
        leaf=not any(True for _ in layer.children()),
        in_place=bool(getattr(layer, "inplace", False)),
        calls=calls,
        arrangement=arrangement,
        channels=_channels(seen.shape, arrangement),
        stride=max(1, round(max(strides))),
        bytes_per_pixel=(seen.held + 2 * seen.largest) / pixels,
        overwritten=seen.overwritten,
    )
    if not isinstance(arrangement, Tokens) or not arrangement.prefix:
        return [row]
    parts = {"#cls": Prefix(arrangement.axes, 0, 1)}
    if arrangement.prefix > 1:
        parts["#registers"] = Prefix(arrangement.axes, 1, arrangement.prefix)
    further = [
        replace(row, name=f"{label}{key}", arrangement=each, stride=max(probed.size)) for key, each in parts.items()
    ]
    return [row, *further]


def _channels(shape: tuple[int, ...], arrangement: Arrangement) -> int:
    if isinstance(arrangement, Grid):
        return shape[arrangement.axes[0]]
    return shape[arrangement.axes[2]] if isinstance(arrangement, Tokens) else shape[-1]


def _strides(probe: Probe, arrangement: Arrangement) -> tuple[float, float]:
    """Pixels from one position to the next, downwards and to the right."""
    if isinstance(arrangement, Tokens):
        return arrangement.stride
    if isinstance(arrangement, Grid):
        rows, columns = (probe.shape[axis] for axis in arrangement.axes[1:])
        return _step(probe.size[0], rows), _step(probe.size[1], columns)
    return float(probe.size[0]), float(probe.size[1])


def _step(pixels: int, positions: int) -> float:
    return float(max(1, round(pixels / max(1, positions))))


def _unreadable(
    probes: Sequence[Probed],
    names: Sequence[str],
    outputs: Sequence[Output],
    refused: dict[Output, str],
    calls: Counter[str],
) -> dict[str, str]:
    """The names that have no map, and why."""
    read = {output.path for output in outputs}
    why = {name: NEVER for name in names if name not in read}
    why |= {path: f"gives {kind}, no tensor of numbers" for path, kind in probes[0].odd.items() if path not in calls}
    for output, words in refused.items():
        why |= {path: words for path in why if output.path in ("", path)}
    for path, count in calls.items():
        if count > 1:
            choice = ", ".join(f"{path}:{number}" for number in range(1, count + 1))
            why[path] = f"is called {count} times; say which call: {choice}"
    return why


def _aliases(module: nn.Module, rows: dict[str, Row]) -> dict[str, str]:
    """Second names of modules that are used under two names, for instance "b:2" for "a:2"."""
    first: dict[int, str] = {}
    same: dict[str, str] = {}
    for path, each in module.named_modules(remove_duplicate=False):
        if first.setdefault(id(each), path) != path:
            same[path] = first[id(each)]
    return {
        f"{path}{name.removeprefix(own)}": name
        for path, own in same.items()
        for name, row in rows.items()
        if row.output.path == own
    }


def _single_parts(rows: dict[str, Row], others: dict[str, str], outputs: Sequence[Output]) -> dict[str, str]:
    """The plain name of a layer whose output has one map, in a tuple: "attention" for "attention.0"."""
    parts = Counter(output[:2] for output in outputs)
    return {
        name.removesuffix(row.output.part): name
        for name, row in rows.items()
        if row.output.part and parts[row.output[:2]] == 1 and name.endswith(row.output.part)
    }


def _only(table: LayerTable, chosen: Sequence[str], name: str) -> LayerTable:
    """The table of the chosen layers alone."""
    for each in chosen:
        if each not in table.rows and each not in table.aliases:
            why = f": {each} {table.others[each]}" if each in table.others else f"; {nearest(each, table.rows)}"
            raise LayerError(f"{name} has no layer {each!r} to be read{why}")
    own = {table.aliases.get(each, each) for each in chosen}
    rows = {label: row for label, row in table.rows.items() if label in own}
    aliases = {alias: label for alias, label in table.aliases.items() if label in own}
    return LayerTable(rows, table.others, aliases, table.preprocess, table.probing)
