"""The spectrum of photographs, from a folder of them to a file: amplitudes by frequency, and colours.

python benchmarks/measure_spectrum.py FOLDER src/impasto/data/spectrum.safetensors
"""

import argparse
import hashlib
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import save

from impasto.files import write_bytes
from impasto.images.files import load_image
from impasto.images.gathering import pictures_below
from impasto.images.image import Image
from impasto.units.spectrum import WINDOW_PX, measured


def main() -> None:
    """Measure, and write the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="photographs, each of 128 px or more")
    parser.add_argument("out", type=Path, help="the file to write")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    files, _ = pictures_below(asked.folder)
    digest, count = hashlib.sha256(), 0

    def photographs() -> Iterator[Image]:
        nonlocal count
        for path in files:
            image = load_image(path)
            if min(image.shape[2:]) >= WINDOW_PX:
                digest.update(path.read_bytes())
                count += 1
                yield image

    spectrum = measured(photographs())
    about = {
        "what": "amplitude of photographs by vertical and horizontal frequency; mean and mixing of the logits",
        "pictures": str(count),
        "pictures_sha256": digest.hexdigest(),
        "made_by": "benchmarks/measure_spectrum.py",
    }
    write_bytes(asked.out, save({name: each.contiguous() for name, each in spectrum.tensors().items()}, about))
    print(f"{asked.out}: {count} pictures")
    print(spectrum.mean, spectrum.colours, spectrum.amplitude[:, [1, 2, 4, 8, 16, 32, 64], 0], sep="\n")


if __name__ == "__main__":
    main()
