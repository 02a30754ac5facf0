"""Modules by name: "file.py:factory", "package.module:factory", "torchvision:NAME" and "timm:NAME".

Nothing is fetched: weights come from a file that is given, or from the cache of the package that made the module.
"""

import hashlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from inspect import signature
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from impasto.errors import NetworkError, nearest
from impasto.modules.names import file_of
from impasto.modules.preprocess import PREPROCESSES, Preprocess
from impasto.modules.states import load_state


@dataclass(frozen=True, eq=False)
class Made:
    """What a name leads to: what the factory returned, its preprocessing if known, and whether weights are missing.

    `missing` says where the weights were looked for.
    """

    thing: Any
    preprocess: Preprocess | None = None
    missing: str | None = None


def make(name: str) -> Made:
    """What a network's name leads to. Raises NetworkError with one sentence."""
    place, _, factory = name.rpartition(":")
    if not place or not factory:
        raise NetworkError(f"{name!r} names no network; write file.py:factory or package.module:factory, for instance")
    if place == "torchvision":
        return _from_torchvision(factory)
    if place == "timm":
        return _from_timm(factory)
    file = file_of(name)
    with _found_beside(file), _same_first_weights():
        found: Any = _imported(place) if file is None else _loaded(file)
        for word in factory.split("."):
            if not hasattr(found, word):
                names = [each for each in vars(found) if not each.startswith("_")]
                raise NetworkError(f"{place} has no {factory!r}; {nearest(word, names)}")
            found = getattr(found, word)
        return Made(_called(found, name))


def _called(found: Any, name: str) -> Any:
    """The result of a factory; a module, or another object that is no function, is its own result."""
    if not callable(found) or isinstance(found, nn.Module):
        return found
    needed = _needed_arguments(found)
    if needed:
        raise NetworkError(
            f"{name} needs arguments ({', '.join(needed)}); write a function without arguments that returns the module"
        )
    try:
        return found()
    except NetworkError:
        raise
    except Exception as error:
        said = (str(error).strip().splitlines() or ["no reason given"])[0]
        raise NetworkError(f"{name} failed with {type(error).__name__}: {said}") from error


def _needed_arguments(function: Callable[..., Any]) -> list[str]:
    try:
        parameters = signature(function).parameters.values()
    except (TypeError, ValueError):  # a function without a signature, such as one in C
        return []
    given = [each for each in parameters if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)]
    return [each.name for each in given if each.default is each.empty]


@contextmanager
def _same_first_weights() -> Iterator[None]:
    """The same random numbers for each factory, so that random weights are the same when a run is resumed."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        yield


def _imported(place: str) -> ModuleType:
    try:
        return import_module(place)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{place}.".startswith(f"{error.name}."):
            raise NetworkError(f"there is no Python module {place!r} here; give a file as file.py:factory") from None
        raise NetworkError(f"{place} cannot be imported: it needs {error.name}, which is not installed") from None
    except Exception as error:
        raise NetworkError(f"{place} cannot be imported: {type(error).__name__}: {error}") from error


def _loaded(file: Path) -> ModuleType:
    """The Python file as a module; a file that was loaded before is loaded again."""
    if not file.is_file():
        raise NetworkError(f"there is no file {file}")
    name = f"{file.stem}_{hashlib.sha256(str(file.resolve()).encode()).hexdigest()[:8]}"
    spec = spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[name] = module  # data classes look their module up
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise NetworkError(f"{file} cannot be loaded: {type(error).__name__}: {error}") from error
    return module


@contextmanager
def _found_beside(file: Path | None) -> Iterator[None]:
    """While a file is loaded, it may import the files beside it."""
    folder = None if file is None else str(file.resolve().parent)
    if folder is None or folder in sys.path:
        yield
        return
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


TORCHVISION: dict[str, Any] = {
    "weights_backbone": None,  # of detectors and segmenters, which would be fetched
    "transform_input": True,  # Inception and GoogLeNet take ImageNet's colours, as they do with trained weights
    "init_weights": False,  # slow, and weights come after
}
"""What models of torchvision are made with, where they have such an argument."""


def _from_torchvision(name: str) -> Made:
    """A model of torchvision; its weights, if torchvision has fetched them before."""
    models = _package("torchvision").models
    if name not in models.list_models():
        raise NetworkError(f"torchvision has no model {name!r}; {nearest(name, models.list_models())}")
    module = _built(models.get_model_builder(name))
    url = str(models.get_model_weights(name).DEFAULT.url)
    file = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if not file.is_file():
        return Made(module, PREPROCESSES["imagenet"], f"{file}, fetched from {url}")
    load_state(module, file, f"torchvision:{name}")
    return Made(module, PREPROCESSES["imagenet"])


def _built(build: Callable[..., nn.Module]) -> nn.Module:
    """What a function of torchvision builds without weights; some hand their arguments on to the class."""
    made = signature(build).return_annotation
    taken = {*signature(build).parameters, *(signature(made).parameters if isinstance(made, type) else ())}
    return build(weights=None, **{key: value for key, value in TORCHVISION.items() if key in taken})


def _from_timm(name: str) -> Made:
    """A model of timm with its own mean and deviation; its weights, if the Hugging Face hub has cached them before."""
    timm = _package("timm")
    if not timm.is_model(name):
        raise NetworkError(f"timm has no model {name!r}; {nearest(name, timm.list_models())}")
    module = timm.create_model(name, pretrained=False)
    about = module.pretrained_cfg
    side = about["input_size"][1] if about.get("fixed_input_size") else None
    preprocess = Preprocess(tuple(about["mean"]), tuple(about["std"]), channels=about["input_size"][0], size=side)
    repository = about.get("hf_hub_id")
    if repository is None:
        return Made(module, preprocess, f"the cache of timm, which knows no weights of {name}")
    file = _cached(repository)
    if file is None:
        return Made(module, preprocess, f"the cache of the Hugging Face hub, for {repository}")
    load_state(module, Path(file), f"timm:{name}")
    return Made(module, preprocess)


def _cached(repository: str) -> str | None:
    found = import_module("huggingface_hub").try_to_load_from_cache(repository, "model.safetensors")
    return found if isinstance(found, str) else None


def _package(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise NetworkError(f"{name}:NAME needs a package that is missing ({error}); pip install {name}") from None
