"""`impasto networks`: list networks and their layers. PyTorch is imported late."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from impasto.cli.groups import NETWORKS
from impasto.cli.streams import print_err, print_out
from impasto.modules.names import is_name_of_module
from impasto.tasks.settings import PreprocessName

if TYPE_CHECKING:
    from impasto.modules.table import Facts

HEADINGS = ("layer", "kind", "channels", "stride", "reach px", "smallest px", "")
networks = App(name="networks", group=NETWORKS, help="List the networks and their layers.")


@networks.default
def listed() -> None:
    """List the networks and their layers."""
    from impasto.networks import catalogue

    for name, entry in catalogue.NETWORKS.items():
        print_out(f"{name}: {entry.about}")
    for architecture in dict.fromkeys(entry.architecture for entry in catalogue.NETWORKS.values()):
        print_out(f"layers: {', '.join(architecture.layers)}")
        print_out(architecture.note)
    print_out("any module: file.py:factory, package.module:factory, torchvision:NAME or timm:NAME")


@networks.command
def layers(
    name: str,
    /,
    *,
    preprocess: PreprocessName | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
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


def _words(layer: str, facts: "Facts") -> tuple[str, ...]:
    """A row of the list of layers."""
    numbers = (facts.channels, facts.stride, facts.reach_px, facts.smallest_px)
    return (
        layer,
        facts.kind,
        *("unknown" if number is None else str(number) for number in numbers),
        ", ".join(facts.notes),
    )


def _aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Rows of words as lines, the columns one below the other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip()
