"""The panel: six pairs of examples, painted by each recipe and judged by three judges that no recipe optimises.

The judges are those of `style_quality.py`. Yardsticks: the photograph itself and the style picture cut to fit, which
every judge must tell apart, and the preset `classic` with three and nine times its weight of the style. Recipes:
impasto's preset `classic` and its default; the plain Gram recipe (the reference's objective and optimiser, 500
evaluations) and style-transfer-pytorch's, rebuilt (`style_quality.py`); NNST (`nnst.py`), mended and as released.
Processor seconds are of one thread, so a busy machine does not change them much.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import torch
from common import EXAMPLES, keep, kept
from nnst import nnst
from PIL import Image as PillowImage
from style_quality import gram_recipe, judge, wasserstein_recipe

from impasto import load_image, open_network, preset, resize, synthesise, transfer
from impasto.images.files import save_image
from impasto.images.image import Image, cover, size_of, size_with_long_side
from impasto.images.sheets import contact_sheet
from impasto.networks.network import Network

PAIRS = (
    ("schwerin-palace", "cafe-terrace-at-night"),
    ("neuschwanstein-castle", "church-at-auvers"),
    ("red-panda", "night-cafe"),
    ("kingfisher", "painter-on-his-way-to-work"),
    ("kingfisher", "church-at-auvers"),
    ("neuschwanstein-castle", "painter-on-his-way-to-work"),
)
Paint = Callable[[Network, Image, Image, int], tuple[Image, int]]  # the picture, and the evaluations it took


def by(name: str, **settings: object) -> Paint:
    """A recipe of impasto: a preset with some settings."""

    def paint(network: Network, photo: Image, painting: Image, size_px: int) -> tuple[Image, int]:
        chosen = preset("transfer", name, size=size_px, frames=0, **settings)
        *_, last = synthesise(transfer(photo, [painting], chosen), network)
        return last.image, last.evaluations

    return paint


def whole_canvas(change: Callable[[Image, Image, tuple[int, int]], Image]) -> Paint:
    """A yardstick that paints nothing."""

    def paint(network: Network, photo: Image, painting: Image, size_px: int) -> tuple[Image, int]:
        return change(photo, painting, size_with_long_side(size_of(photo), size_px)), 0

    return paint


RECIPES: dict[str, Paint] = {
    "the photograph itself": whole_canvas(lambda photo, painting, size: resize(photo, size)),
    "the style picture, cut to fit": whole_canvas(lambda photo, painting, size: cover(painting, size)),
    "classic": by("classic"),
    "default": by("default"),
    "default, style × 2": by("default", style_weight=2.0),
    "default, style × 3": by("default", style_weight=3.0),
    "default, strokes along": by("default", strokes="along"),
    "classic, style × 3": by("classic", style_weight=3.0),
    "classic, style × 9": by("classic", style_weight=9.0),
    "plain Gram": lambda network, *given: (gram_recipe(*given, 1.0), 500),
    "NNST": lambda *given: (nnst(*given), 0),
    "NNST as released": lambda *given: (nnst(*given, mended=False), 0),
    "style-transfer-pytorch": lambda *given: (wasserstein_recipe(*given, 1.0), 0),
}


def main(size_px: int, names: list[str], pairs: list[int], pictures: Path) -> None:
    network = open_network("vgg16", padding="replicate")
    plain = open_network("vgg16", precision="float32")
    pictures.mkdir(parents=True, exist_ok=True)
    rows = list(kept("style_panel")["rows"])
    for number in pairs:
        photo, painting = (load_image(EXAMPLES / f"{name}.webp") for name in PAIRS[number])
        for name in names:
            begin = time.process_time()
            image, evaluations = RECIPES[name](network, photo, painting, size_px)
            seconds = time.process_time() - begin
            row = dict(zip(("photo", "painting"), PAIRS[number], strict=True), size_px=size_px, recipe=name)
            rows[:] = [each for each in rows if any(each[key] != value for key, value in row.items())]
            cost = {"evaluations": evaluations or None, "processor_seconds": round(seconds, 1)}
            cost["precision"] = str(network.precision).removeprefix("torch.")
            rows.append({**row, **judge(plain, image, photo, painting), **cost})
            print(rows[-1], flush=True)
            keep("style_panel", "Six pairs, judged", rows)
            save_image(image, pictures / f"{number}-{size_px}-{name}.png")


def sheet(size_px: int, names: list[str], pairs: list[int], pictures: Path) -> Path:
    """The pictures of all pairs and recipes side by side."""
    files = [(name, pictures / f"{number}-{size_px}-{name}.png") for number in pairs for name in names]
    path = pictures / f"sheet-{size_px}.png"
    contact_sheet([(name, PillowImage.open(file)) for name, file in files], columns=len(names)).save(path)
    return path


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES), choices=list(RECIPES))
    parser.add_argument("--pairs", type=int, nargs="+", default=range(len(PAIRS)), choices=range(len(PAIRS)))
    parser.add_argument("--pictures", type=Path, default=Path("runs/style-panel"), help="where the pictures go")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    main(asked.size, asked.recipes, list(asked.pairs), asked.pictures)
    print(sheet(asked.size, asked.recipes, list(asked.pairs), asked.pictures))
