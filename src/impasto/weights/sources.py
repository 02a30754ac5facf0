"""Where weights that are not bundled come from, and where they are kept: one table of public files.

Sizes and hashes are as published: each row says by whom. A hash is of the file as the server has it.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from impasto.errors import NetworkError, SpecError, nearest
from impasto.files import sha256
from impasto.weights.layout import Family

CC_BY = "CC BY 4.0, K. Simonyan and A. Zisserman, University of Oxford"


@dataclass(frozen=True)
class Source:
    """A public file of weights: its address, size and hash, who published these, and the licence.

    `family` is the convention of the colours, so that a fetched file need not be tried. `extra` names the extra of
    impasto that reads the file, if it needs one.
    """

    name: str
    url: str
    size: int
    algorithm: Literal["sha256", "md5"]
    digest: str
    evidence: str
    licence: str
    family: Family
    extra: str | None = None

    @property
    def file(self) -> str:
        """The file's name."""
        return self.url.rpartition("/")[2]


_KERAS = "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5"
_KERAS_MD5 = "253f8cb515780f3b799900260a226db6"
SOURCES: Mapping[str, tuple[Source, ...]] = {
    "vgg19": (
        Source(
            "keras",
            f"https://storage.googleapis.com/tensorflow/keras-applications/vgg19/{_KERAS}",
            80_134_624,
            "md5",
            _KERAS_MD5,
            "MD5 in Keras' own source (keras/applications/vgg19.py)",
            CC_BY,
            "caffe",
            "keras",
        ),
        Source(
            "keras-github",
            f"https://github.com/fchollet/deep-learning-models/releases/download/v0.1/{_KERAS}",
            80_134_624,
            "md5",
            _KERAS_MD5,
            "the same file, from the release that Keras used first",
            CC_BY,
            "caffe",
            "keras",
        ),
        Source(
            "oxford",
            "https://www.robots.ox.ac.uk/~vgg/software/very_deep/caffe/VGG_ILSVRC_19_layers.caffemodel",
            574_671_192,
            "md5",
            "b5c644beabd7cf06bdd9065cfd674c97",
            "MD5 and size as several public programs that download the file check them",
            CC_BY,
            "caffe",
        ),
        Source(
            "torchvision",
            "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth",
            574_673_361,
            "sha256",
            "dcbb9e9dad569fff7a846263a77324fc34978fea2bfb039c012d710e1776ae44",
            "the first 8 digits of the SHA-256 in torchvision's name of the file, the rest as public programs check it",
            "BSD 3-Clause, torchvision; another training than the authors'",
            "torchvision",
        ),
    ),
}


def sources(network: str, name: str | None = None) -> tuple[Source, ...]:
    """The sources of a network, or the one of that name.

    Without a name: those of the authors' own weights, which are one training. Raises NetworkError, SpecError.
    """
    if network not in SOURCES:
        raise NetworkError(f"there is nothing to fetch for {network!r}; {nearest(network, SOURCES)}")
    known = {source.name: source for source in SOURCES[network]}
    if name is None:
        return tuple(source for source in known.values() if source.family == "caffe")
    if name not in known:
        raise SpecError(f"{network} has no source {name!r}; {nearest(name, known)}")
    return (known[name],)


# The size and SHA-256 of torchvision's VGG-16, vgg16-397923af.pth, which may be converted but is not fetched.
_VGG16 = (553_433_881, "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0")


def known_family(path: Path) -> Family | None:
    """The family of a file that is, by size and SHA-256, a published one; None for any other."""
    listed = [source for each in SOURCES.values() for source in each if source.algorithm == "sha256"]
    known: dict[tuple[int, str], Family] = {(source.size, source.digest): source.family for source in listed}
    known[_VGG16] = "torchvision"
    size = path.stat().st_size
    if size not in {each for each, _ in known}:
        return None  # without reading the whole file
    return known.get((size, sha256(path)))


def kept_at(network: str) -> Path:
    """The file where fetched weights of a network are kept, below IMPASTO_WEIGHTS or the user's folder of caches."""
    own = os.environ.get("IMPASTO_WEIGHTS")
    caches = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return (Path(own) if own else Path(caches) / "impasto").expanduser() / f"{network}.safetensors"
