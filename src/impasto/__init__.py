"""Look at what a convolutional network keeps of a picture, and paint with it.

Names are imported when they are first used, so that `import impasto` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from impasto.catalogue import open_network
    from impasto.distances import Wasserstein, mean_squared_error, normalised_squared_error, wasserstein_distance
    from impasto.errors import ImpastoError
    from impasto.images import Image, Picture, load_image, load_picture, resize, save_image
    from impasto.inits import covering, from_image, noise
    from impasto.metrics import feature_error, psnr
    from impasto.networks import Network
    from impasto.normalisation import Means, load_means, mean_activations, normalise, save_means
    from impasto.objectives import Criterion, Match, Objective, Prior, content, prior, style
    from impasto.optimisers import adam, lbfgs
    from impasto.parameterisations import Fourier, Pixels
    from impasto.presets import preset
    from impasto.priors import alpha_norm, out_of_range, total_variation
    from impasto.recipes import amalgamate, invert, reconstruct, texture, transfer
    from impasto.representations import activations, channel_moments, gram_matrix, mean_and_gram
    from impasto.runs import resume, run
    from impasto.schedules import Stage, octaves, single
    from impasto.specs import (
        AmalgamateSettings,
        InvertSettings,
        ReconstructSettings,
        RunSpec,
        TextureSettings,
        TransferSettings,
    )
    from impasto.synthesis import Composition, Iterate, synthesise
    from impasto.tiling import bind_tiled

_HOME = {
    "catalogue": ["open_network"],
    "distances": ["Wasserstein", "mean_squared_error", "normalised_squared_error", "wasserstein_distance"],
    "errors": ["ImpastoError"],
    "images": ["Image", "Picture", "load_image", "load_picture", "resize", "save_image"],
    "inits": ["covering", "from_image", "noise"],
    "metrics": ["feature_error", "psnr"],
    "networks": ["Network"],
    "normalisation": ["Means", "load_means", "mean_activations", "normalise", "save_means"],
    "objectives": ["Criterion", "Match", "Objective", "Prior", "content", "prior", "style"],
    "optimisers": ["adam", "lbfgs"],
    "parameterisations": ["Fourier", "Pixels"],
    "presets": ["preset"],
    "priors": ["alpha_norm", "out_of_range", "total_variation"],
    "recipes": ["amalgamate", "invert", "reconstruct", "texture", "transfer"],
    "representations": ["activations", "channel_moments", "gram_matrix", "mean_and_gram"],
    "runs": ["resume", "run"],
    "schedules": ["Stage", "octaves", "single"],
    "specs": [
        "AmalgamateSettings",
        "InvertSettings",
        "ReconstructSettings",
        "RunSpec",
        "TextureSettings",
        "TransferSettings",
    ],
    "synthesis": ["Composition", "Iterate", "synthesise"],
    "tiling": ["bind_tiled"],
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

__all__ = [
    "AmalgamateSettings",
    "Composition",
    "Criterion",
    "Fourier",
    "Image",
    "ImpastoError",
    "InvertSettings",
    "Iterate",
    "Match",
    "Means",
    "Network",
    "Objective",
    "Picture",
    "Pixels",
    "Prior",
    "ReconstructSettings",
    "RunSpec",
    "Stage",
    "TextureSettings",
    "TransferSettings",
    "Wasserstein",
    "activations",
    "adam",
    "alpha_norm",
    "amalgamate",
    "bind_tiled",
    "channel_moments",
    "content",
    "covering",
    "feature_error",
    "from_image",
    "gram_matrix",
    "invert",
    "lbfgs",
    "load_image",
    "load_means",
    "load_picture",
    "mean_activations",
    "mean_and_gram",
    "mean_squared_error",
    "noise",
    "normalise",
    "normalised_squared_error",
    "octaves",
    "open_network",
    "out_of_range",
    "preset",
    "prior",
    "psnr",
    "reconstruct",
    "resize",
    "resume",
    "run",
    "save_image",
    "save_means",
    "single",
    "style",
    "synthesise",
    "texture",
    "total_variation",
    "transfer",
    "wasserstein_distance",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'impasto' has no attribute {name!r}")
    return getattr(import_module(f"impasto.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return __all__
