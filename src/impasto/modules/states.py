"""The weights of a module: read from a file, random as before training, and told apart by a hash."""

import hashlib
import math
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from impasto.errors import WeightsError
from impasto.images.noise import noise_picture
from impasto.modules.calls import observe
from impasto.modules.preprocess import Preprocess
from impasto.modules.probing import Probing, settle

PICTURES, PICTURE_PX = 8, 224
SLOPE = 0.25  # of PReLU before training (He et al. 2015)
TABLES = ("token", "embed", "pos", "prefix")  # in names of parameters that are added to maps or put beside them
OFFSETS = ("bias", "beta", "shift", "offset")
EMBEDDING = 0.02  # the standard deviation of tokens and positions in transformers (Dosovitskiy et al. 2020)


def load_state(module: nn.Module, file: Path, name: str) -> None:
    """Put the weights of a file into a module: safetensors, or a state that `torch.save` wrote; no code is run.

    Raises WeightsError if the file is missing, damaged, or of another network.
    """
    state = _read_state(file)
    own = module.state_dict()
    missing = [key for key in own if key not in state and not key.endswith("num_batches_tracked")]
    other = [key for key in own if key in state and tuple(state[key].shape) != tuple(own[key].shape)]
    if missing or other:
        first = missing[0] if missing else other[0]
        raise WeightsError(
            f"{file} is not a file of {name}'s weights: {first} {'is missing' if missing else 'has another shape'}"
        )
    wrong = [key for key in own if key in state and not bool(torch.isfinite(state[key].float()).all())]
    if wrong:
        raise WeightsError(f"{file} is damaged: some of the numbers of {wrong[0]} are not finite")
    module.load_state_dict({key: state[key] for key in own if key in state}, strict=False)


def _read_state(file: Path) -> dict[str, torch.Tensor]:
    if not file.is_file():
        raise WeightsError(f"there is no file of weights at {file}")
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(file)
        read = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        if "weights_only" in str(error):  # PyTorch's own words advise to run the code
            why = "the file holds other things than tensors, such as code, which is never run"
        else:
            why = "the file is damaged, cut short, or no file of weights"
        raise WeightsError(f"{file} cannot be read as weights: {why}; save the module's state_dict()") from None
    for key in ("state_dict", "model"):
        if isinstance(read, dict) and isinstance(read.get(key), dict):
            read = read[key]
    if not isinstance(read, dict) or not all(isinstance(value, torch.Tensor) for value in read.values()):
        raise WeightsError(f"{file} holds no table of tensors; save the module's state_dict()")
    return read


def digest(module: nn.Module) -> str:
    """SHA-256 of all weights and buffers of a module, with their names and types."""
    found = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        if isinstance(value, torch.Tensor):
            found.update(f"{name} {value.dtype} {tuple(value.shape)} ".encode())
            found.update(value.detach().cpu().reshape(-1).contiguous().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def untrained_tensors(tensors: Mapping[str, Tensor], seed: int) -> dict[str, Tensor]:
    """Random weights of the same shapes, normal with variance 2 / fan-in, and biases of 0, for layers with ReLUs.

    Source: He et al. 2015 (arXiv:1502.01852), equation 10.
    """
    generator = torch.Generator().manual_seed(seed)
    return {key: _random(value, generator, gain=2.0) for key, value in tensors.items()}


def untrain(module: nn.Module, preprocess: Preprocess, seed: int, name: str) -> None:
    """Give a module random weights; statistics of batch norms are measured anew on pictures of noise.

    Kernels have variance 2 / fan-in, matrices of linear layers and of attention 1 / fan-in; biases are 0. Norms, and
    vectors that scale channels, such as LayerScale's factors, are 1; slopes of PReLU .25 (He et al. 2015). Tokens,
    positions and all other tables are normal with standard deviation .02. Nothing of the former weights remains, so
    that the result depends on the seed alone.

    Raises NetworkError, which speaks of the module by `name`, if the module cannot be called.
    """
    generator = torch.Generator().manual_seed(seed)
    known: set[int] = set()
    with torch.no_grad():
        for each in module.modules():
            for key, value in each.named_parameters(recurse=False):
                if id(value) not in known:
                    known.add(id(value))
                    value.copy_(_untrained(each, key.lower(), value, generator))
    _measure_norms(module, preprocess, generator, name)


def _untrained(owner: nn.Module, name: str, value: Tensor, generator: torch.Generator) -> Tensor:
    """The values of a module's own parameter before training."""
    if isinstance(owner, nn.PReLU):
        return torch.full_like(value, SLOPE)
    norms = "Norm" in type(owner).__name__ and not isinstance(owner, nn.Linear | nn.modules.conv._ConvNd)
    embeds = isinstance(owner, nn.Embedding) or any(word in name for word in TABLES)
    if norms or (not embeds and _is_for_channels(value)):
        return torch.full_like(value, 0.0 if name == "b" or any(word in name for word in OFFSETS) else 1.0)
    if not embeds and name.endswith("weight"):
        return _random(value, generator, gain=2.0 if value.ndim > 2 else 1.0)
    return EMBEDDING * torch.randn(value.shape, generator=generator)


def _is_for_channels(value: Tensor) -> bool:
    """Whether there is one number for each channel, (channels,), (channels, 1, 1) or (1, channels, 1, 1), or one."""
    return value.ndim < 2 or (value.shape[-1] == 1 and value.numel() == max(value.shape))


def _random(like: Tensor, generator: torch.Generator, gain: float) -> Tensor:
    if like.ndim < 2:
        return torch.zeros(like.shape, dtype=like.dtype)
    scale = math.sqrt(gain / like[0].numel())
    return (scale * torch.randn(like.shape, generator=generator)).to(like.dtype)


def _measure_norms(module: nn.Module, preprocess: Preprocess, generator: torch.Generator, name: str) -> None:
    """Set the running statistics of batch norms to those of pictures of noise, one norm after the other.

    A norm's statistics depend on the norms before it, so each picture is passed once for each depth at most: in train
    mode a norm uses the picture's own statistics, which come close to those that it will have. A module that takes
    pictures of one size gets such pictures; one that fails behind some of its layers is measured up to there.
    """
    norms = [each for each in module.modules() if isinstance(each, _BatchNorm) and each.running_mean is not None]
    if not norms:
        return
    sums: dict[int, list[Tensor]] = {}

    def take(norm: nn.Module, given: tuple[Tensor, ...]) -> None:
        maps = given[0].double()
        axes = [axis for axis in range(maps.ndim) if axis != 1]
        mean, square = maps.mean(axes), maps.square().mean(axes)
        before = sums.setdefault(id(norm), [torch.zeros_like(mean), torch.zeros_like(mean), torch.zeros(())])
        sums[id(norm)] = [before[0] + mean, before[1] + square, before[2] + 1]
        found_mean, found_square = (total / sums[id(norm)][2] for total in sums[id(norm)][:2])
        assert isinstance(norm, _BatchNorm)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        norm.running_mean.copy_(found_mean)
        norm.running_var.copy_((found_square - found_mean.square()).clamp_min(1e-12))

    reference = norms[0].running_mean
    assert reference is not None
    probing = Probing(module, reference.dtype, preprocess.channels, reference.device)
    settled, _, unread = settle(probing, preprocess, name)
    failing = (Exception,) if unread else ()
    handles = [norm.register_forward_pre_hook(take) for norm in norms]
    try:
        with torch.no_grad():
            for number in range(PICTURES):
                picture = noise_picture(PICTURE_PX, generator, leaves=number % 2 == 1).to(reference.device)
                own = {key: value.detach() for key, value in [*module.named_parameters(), *module.named_buffers()]}
                prepared = settled(picture, reference.dtype).contiguous()
                with suppress(*failing):
                    observe(module, prepared, (), lambda *_: False, own)
    finally:
        for handle in handles:
            handle.remove()
