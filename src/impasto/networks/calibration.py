"""`impasto normalise`: from a folder of pictures to a file of mean activations."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from impasto.errors import ImageError, NetworkError, OutputError
from impasto.files import new_file
from impasto.images.files import load_image
from impasto.images.gathering import pictures_below
from impasto.images.image import Image, Size, resize
from impasto.networks.catalogue import PLAIN, entry, open_network
from impasto.networks.joint import Normalised, verify
from impasto.networks.means import SQUASHED, Means, mean_activations, save_means
from impasto.networks.network import Padding, Pooling

PROBE: Size = (64, 64)  # of the picture for which the normalised network is compared with the network


@dataclass(frozen=True, eq=False)
class Calibration:
    """Mean activations, the number of pictures averaged, files that could not be read, and the normalised network."""

    means: Means
    pictures: int
    unreadable: tuple[Path, ...]
    normalised: Normalised


def calibrate(
    folder: Path,
    out: Path,
    *,
    network: str = PLAIN,
    weights: Path | None = None,
    pooling: Pooling = "max",
    padding: Padding = "zero",
    device: str = "auto",
    force: bool = False,
    watch: Callable[[Sequence[Path]], Iterable[Path]] = iter,
) -> Calibration:
    """Average a network's activations over all pictures below `folder`, each squashed to 224 × 224.

    `watch` takes the list of files and yields each when it is to be read, in the same order: a progress bar, say.

    Writes float32 vectors for `open_network(means=…)`, and measures how exactly they normalise the network. Raises
    ImageError if no picture can be read, OutputError if `out` exists (without `force`) or cannot be written,
    NetworkError for a network that is normalised already, or that cannot be normalised exactly.
    """
    known = entry(network)
    if known.means is not None:
        raise NetworkError(f"{network} is normalised already; name the network as trained, {PLAIN} for instance")
    if not folder.is_dir():
        raise ImageError(f"{folder} is not a folder of pictures")
    _require_writable(out, force)
    files, left_out = pictures_below(folder)
    unreadable = list(left_out)
    digest = hashlib.sha256()

    def watched() -> Iterator[Path]:
        for path in watch(files):
            yield path
            if path not in unreadable:  # the picture at `path` has been read by now
                with path.open("rb") as file:
                    while piece := file.read(1 << 20):
                        digest.update(piece)

    opened = open_network(
        network, weights=weights, pooling=pooling, padding=padding, precision="float32", device=device
    )
    first = list[Image]()

    def kept() -> Iterator[Image]:
        for image in squashed_pictures(watched(), unreadable):
            first[:] = first or [resize(image, PROBE)]
            yield image

    means = mean_activations(opened, kept())
    about = {
        **means.metadata,
        "squashed_to": f"{SQUASHED[0]} x {SQUASHED[1]}",
        "weights_sha256": known.weights_sha256(weights),
        "pictures_sha256": digest.hexdigest(),
        "what": "mean activation after the ReLU of every filter; each picture weighs the same",
    }
    means = Means(means.by_layer, about)
    normalised = verify(opened, means, first[0])
    with nullcontext() if force else new_file(out):
        save_means(means, out)
    return Calibration(means, len(files) + len(left_out) - len(unreadable), tuple(unreadable), normalised)


def _require_writable(out: Path, force: bool) -> None:
    """Raise OutputError if `out` is taken, unless `force` may replace a file, or its folder is missing."""
    if out.is_dir() or (out.exists() and not force):
        raise OutputError(f"{out} exists already; name another file with --out, or replace it with --force")
    if not out.parent.is_dir():
        raise OutputError(f"{out} cannot be written: there is no folder {out.parent}")


def squashed_pictures(paths: Iterable[Path], unreadable: list[Path], size: Size = SQUASHED) -> Iterator[Image]:
    """Pictures resized to `size`, ignoring proportions; files that cannot be read are added to `unreadable`."""
    for path in paths:
        try:
            yield resize(load_image(path), size)
        except ImageError:
            unreadable.append(path)
