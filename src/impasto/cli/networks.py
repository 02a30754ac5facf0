"""`impasto networks` and `impasto normalise`: networks, their weights and means. PyTorch is imported late."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter

from impasto.cli.groups import NETWORKS
from impasto.cli.listeners import bar_over, is_live
from impasto.cli.options import Quiet, Switch
from impasto.cli.streams import print_err, print_out
from impasto.errors import SpecError, WeightsError
from impasto.modules.names import is_name_of_module
from impasto.tasks.values import PreprocessName
from impasto.weights.layout import Family
from impasto.weights.sources import Source, sources

if TYPE_CHECKING:
    from impasto.modules.table import Facts

HEADINGS = ("layer", "kind", "channels", "stride", "reach px", "smallest px", "")
networks = App(
    name="networks", group=NETWORKS, help="List the networks and their layers; fetch, convert, check weights."
)


@networks.default
def listed() -> None:
    """List the networks and their layers; fetch, convert, check weights."""
    from impasto.networks import catalogue

    for name, entry in catalogue.NETWORKS.items():
        print_out(f"{name}: {entry.about}")
    for architecture in dict.fromkeys(entry.architecture for entry in catalogue.NETWORKS.values()):
        print_out(f"{architecture.title}, layers: {', '.join(architecture.layers)}")
    print_out(architecture.note)
    print_out("any module: file.py:factory, package.module:factory, torchvision:NAME or timm:NAME")


@networks.command
def layers(
    name: str,
    /,
    *,
    preprocess: PreprocessName | None = None,
    json: Switch = False,
) -> None:
    """List the layers of NAME, in the order in which they are computed.

    The layers of a module are found by a call that knows shapes and computes nothing; weights are not needed.

    Parameters
    ----------
    name
        A network of the catalogue, file.py:factory, package.module:factory, torchvision:NAME or timm:NAME.
    preprocess
        How a module takes colours, imagenet by default.
    json
        Print a line of JSON for each layer.

    """
    from impasto.networks.catalogue import Choice

    network = Choice(name, preprocess=preprocess).looked_at()
    facts = {layer: network.facts(layer) for layer in network.layers}
    if json:
        from impasto.cli.listeners import print_json

        for layer, each in facts.items():
            print_json({"layer": layer, **each._asdict()})
        return
    for line in _aligned([HEADINGS, *(_words(layer, each) for layer, each in facts.items())]):
        print_out(line)
    if is_name_of_module(name):
        given = "" if preprocess is not None else ", unless --preprocess or the factory says otherwise"
        print_err(f"pictures are taken as {network.preprocess.words()}{given}")
    for layer, why in network.others.items():
        if f"{layer}:1" not in network.layers:  # else each call is in the list
            print_err(f"{layer} cannot be read: it {why}")


@networks.command
def fetch(
    name: str,
    /,
    *,
    source: str | None = None,
    quiet: Quiet = False,
) -> None:
    """Fetch the weights of NAME, verify and convert them, and keep them for `--network NAME`.

    A download that was cut off is continued. Nothing else in impasto uses the internet.

    Parameters
    ----------
    name
        A network whose weights are not bundled: vgg19.
    source
        keras, keras-github, oxford or torchvision (another training); by default the first three in turn.
    quiet
        Print only errors and the file's name.

    """
    from impasto.networks.catalogue import entry
    from impasto.weights.fetch import fetch as fetch_weights

    chosen = sources(name, source)
    if not quiet:
        for each in chosen:
            print_err(f"{each.name}: {each.url}, {each.size / 1e6:.0f} MB, {each.licence}")
    print_out(fetch_weights(name, entry(name).architecture.title, source, watch=_silent if quiet else _Tenths()))


@networks.command
def convert(
    given: Path,
    out: Path,
    /,
    *,
    family: Family | None = None,
    force: Switch = False,
) -> None:
    """Convert weights of VGG-16 or VGG-19 from any family to a safetensors file for --weights.

    Reads safetensors, PyTorch (.pth), Keras (.h5, .weights.h5; needs the extra keras), ONNX and Caffe (.caffemodel).
    Code in a file is never run.

    Parameters
    ----------
    given
        File of weights.
    out
        File to write, ending in .safetensors.
    family
        Convention of the colours, if the file does not name one: caffe (BGR, 0 … 255), torchvision (RGB, 0 … 1,
        standardised) or impasto (RGB, 0 … 255).
    force
        Replace OUT if it exists.

    """
    from impasto.weights.convert import convert as convert_weights
    from impasto.weights.families import ABOUT

    found = convert_weights(given, out, family=family, force=force)
    print_err(f"{found.title}, written for {ABOUT[found.family]}")
    print_out(out)


@networks.command
def check(
    name: str,
    photo: Path,
    /,
    *,
    weights: Path | None = None,
    preprocess: PreprocessName | None = None,
) -> None:
    """Say what is wrong with the weights of NAME, or with their preprocessing, from their answers to PHOTO.

    Parameters
    ----------
    name
        A network of the catalogue, file.py:factory, package.module:factory, torchvision:NAME or timm:NAME.
    photo
        Picture file: a photograph, of anything.
    weights
        File of weights in place of the network's own.
    preprocess
        How a module takes colours, imagenet by default.

    """
    from impasto.images.files import load_image
    from impasto.networks.catalogue import Choice, entry
    from impasto.weights.checking import check as check_weights
    from impasto.weights.doubts import doubts

    choice = Choice(name, weights, preprocess=preprocess)
    if choice.is_built_in:
        if preprocess is not None:
            raise SpecError(f"{name} has its own preprocessing; leave out --preprocess {preprocess}")
        found = check_weights(entry(name).filters(weights), load_image(photo))
    else:
        network = choice.open("float32")
        assert network.computation.module is not None
        found = doubts(network.computation.module, network.preprocess, load_image(photo))
        print_out(f"pictures are taken as {network.preprocess.words()}")
    for fact in found.facts:
        print_out(fact)
    if found.problems:
        raise WeightsError("; ".join(found.problems))
    print_out("nothing is wrong")


def _silent(source: Source, count: int) -> None:
    """Show nothing."""


class _Tenths:
    """A line on standard error for each tenth of a file that has arrived."""

    def __init__(self) -> None:
        self._shown = -1

    def __call__(self, source: Source, count: int) -> None:
        """Show the tenth, if it is a new one."""
        tenth = 10 * count // source.size
        if tenth != self._shown:
            self._shown = tenth
            print_err(f"{source.name}: {10 * tenth} % of {source.size / 1e6:.0f} MB")


def normalise(
    folder: Path,
    /,
    *,
    out: Annotated[Path, Parameter(alias="-o")],
    network: str = "vgg16",
    weights: Path | None = None,
    pooling: Literal["max", "average"] = "max",
    padding: Literal["zero", "replicate"] = "zero",
    device: str = "auto",
    force: Switch = False,
    quiet: Switch = False,
) -> None:
    """Mean activations of a network over all pictures in FOLDER, for `--means`.

    Parameters
    ----------
    folder
        Folder of pictures, searched with its subfolders; files that cannot be read are named and skipped.
    out
        File to write, ending in .safetensors.
    network
        vgg16 or vgg19.
    weights
        File of weights in place of the network's own: safetensors, PyTorch, Keras, ONNX or Caffe.
    pooling
        Pooling of the network during the measurement.
    padding
        Padding of the first convolution during the measurement.
    device
        auto, cpu, cuda, cuda:1, mps …
    force
        Replace the file if it exists.
    quiet
        Print only errors and the file's name.

    """
    from impasto.networks.calibration import calibrate

    found = calibrate(
        folder,
        out,
        network=network,
        weights=weights,
        pooling=pooling,
        padding=padding,
        device=device,
        force=force,
        watch=iter if quiet or not is_live() else bar_over,
    )
    for path in found.unreadable:
        _report(f"skipped {path}: not a picture that can be read", quiet)
    dead = found.means.dead_filters()
    for layer in dict.fromkeys(layer for layer, _ in dead):
        indices = [str(index) for where, index in dead if where == layer]
        _report(f"{layer}: {len(indices)} dead filters keep their scale ({', '.join(indices)})", quiet)
    _report(f"{network}: {found.normalised.words}", quiet)
    _report(f"pictures averaged: {found.pictures}, files skipped: {len(found.unreadable)}", quiet)
    print_out(out)


def _report(words: str, quiet: bool) -> None:
    if not quiet:
        print_err(words)


def _words(layer: str, facts: "Facts") -> tuple[str, ...]:
    """A row of the list of layers."""
    stride = "whole picture" if facts.stride is None else str(facts.stride)
    return (
        layer,
        facts.kind,
        str(facts.channels),
        stride,
        *("unknown" if number is None else str(number) for number in (facts.reach_px, facts.smallest_px)),
        ", ".join(facts.notes),
    )


def _aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Rows of words as lines, the columns one below the other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip()
