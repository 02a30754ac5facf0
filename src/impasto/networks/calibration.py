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

    album = _Album(folder)
    opened = open_network(
        network, weights=weights, pooling=pooling, padding=padding, precision="float32", device=device
    )

    measured = mean_activations(opened, album.squashed(watch))
    about = {
        **measured.metadata,
        "squashed_to": f"{SQUASHED[0]} x {SQUASHED[1]}",
        "weights_sha256": known.weights_sha256(weights),
        "pictures_sha256": album.digest.hexdigest(),
        "what": "mean activation after the ReLU of every filter; each picture weighs the same",
    }
    means = Means(measured.by_layer, about)
    assert album.first is not None  # without a picture `mean_activations` raises
    normalised = verify(opened, means, album.first)

    with nullcontext() if force else new_file(out):
        save_means(means, out)
    return Calibration(means, album.count, tuple(album.unreadable), normalised)


class _Album:
    """The pictures below a folder: read once, hashed as they are read, and the first kept small for a comparison."""

    def __init__(self, folder: Path) -> None:
        self.files, left_out = pictures_below(folder)
        self.unreadable = list(left_out)
        self.count, self.digest = 0, hashlib.sha256()  # of the pictures that could be read
        self.first: Image | None = None

    def squashed(self, watch: Callable[[Sequence[Path]], Iterable[Path]]) -> Iterator[Image]:
        """The pictures one by one, at the size at which activations are averaged."""
        for image in squashed_pictures(self._hashed(watch(self.files)), self.unreadable):
            if self.first is None:
                self.first = resize(image, PROBE)
            yield image

    def _hashed(self, files: Iterable[Path]) -> Iterator[Path]:
        for path in files:
            yield path
            if path in self.unreadable:  # the picture at `path` has been tried by now
                continue
            self.count += 1
            with path.open("rb") as file:
                while piece := file.read(1 << 20):
                    self.digest.update(piece)


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
