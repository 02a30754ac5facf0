"""`impasto normalise`: from a folder of pictures to a file of mean activations."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from impasto.errors import ImageError, OutputError
from impasto.files import new_file
from impasto.images.files import load_image
from impasto.images.gathering import pictures_below
from impasto.images.image import Image, Size, resize
from impasto.networks.catalogue import PLAIN, entry, open_network
from impasto.networks.means import SQUASHED, Means, mean_activations, save_means
from impasto.networks.network import Padding, Pooling


@dataclass(frozen=True, eq=False)
class Calibration:
    """Mean activations, the number of pictures averaged, and the files that could not be read."""

    means: Means
    pictures: int
    unreadable: tuple[Path, ...]


def calibrate(
    folder: Path,
    out: Path,
    *,
    weights: Path | None = None,
    pooling: Pooling = "max",
    padding: Padding = "zero",
    device: str = "auto",
    force: bool = False,
    watch: Callable[[Sequence[Path]], Iterable[Path]] = iter,
) -> Calibration:
    """Average the plain VGG-16's activations over all pictures below `folder`, each squashed to 224 × 224.

    `watch` takes the list of files and yields each when it is to be read, in the same order: a progress bar, say.

    Writes float32 vectors for `open_network(means=…)`. Raises ImageError if no picture can be read, OutputError if
    `out` exists (without `force`) or cannot be written.
    """
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

    network = open_network(PLAIN, weights=weights, pooling=pooling, padding=padding, precision="float32", device=device)
    means = mean_activations(network, squashed_pictures(watched(), unreadable))
    about = {
        **means.metadata,
        "squashed_to": f"{SQUASHED[0]} x {SQUASHED[1]}",
        "weights_sha256": entry(PLAIN).weights_sha256(weights),
        "pictures_sha256": digest.hexdigest(),
        "what": "mean activation after the ReLU of every filter; each picture weighs the same",
    }
    means = Means(means.by_layer, about)
    with nullcontext() if force else new_file(out):
        save_means(means, out)
    return Calibration(means, len(files) + len(left_out) - len(unreadable), tuple(unreadable))


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
