"""Doubts about how a module takes pictures: gross mistakes of its preprocessing, seen in two small passes.

A module answers any picture, so a wrong range or order of colours shows nowhere but in results. Trained weights tell:

- Batch norms keep the mean and the variance of what they were trained on. Pictures in 0 … 255 for 0 … 1 change the
  variance at the first one by e⁹ to e¹⁰, a mean that is not subtracted moves answers by 170 deviations; pictures as
  trained differ by less than e³ and one deviation (EfficientNet-Lite0, photographs and dead leaves).
- Without norms, biases tell the range: a picture that is too faint changes the last answers little. A photograph's
  differ from those to a blank picture by 0.9 to 1.4 of their length (SqueezeNet 1.1, a ResNet-50 whose batch norms are
  folded); by 0.3 at most if the photograph is 255 times too faint.
- First kernels see blue least, as `impasto.weights.checking` says.

Doubts are said and nothing is chosen: of two usual ranges, the wrong one may give the more confident answer.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from impasto.errors import ImpastoError
from impasto.images.image import Image, resize, size_of
from impasto.images.noise import noise_picture
from impasto.modules.calls import observe
from impasto.modules.preprocess import Preprocess
from impasto.weights.checking import Findings

SIDE_PX = 128
FAINT = 0.6  # of the answers' length, the least difference from the answers to a blank picture
BRIGHT = 200.0  # the root mean square of logits above which no class but one has a chance
SPREAD = math.log(100)  # of a variance at the first batch norm, from the variance in training
MOVED = 5.0  # deviations of the mean at the first batch norm
SWAPPED = 0.9  # of blue's norm; modules have fewer first kernels than VGG, so the line is drawn lower than there


@torch.no_grad()
def doubts(module: nn.Module, preprocess: Preprocess, photo: Image | None = None) -> Findings:
    """Facts and problems of a trained module's preprocessing, from a photo or else a picture of dead leaves.

    The module is left as it is, and so are all random numbers. A module that fails for the picture gives no problems.
    """
    picture = noise_picture(SIDE_PX, torch.Generator().manual_seed(0), leaves=True) if photo is None else _small(photo)
    tensors = [*module.parameters()]
    if not tensors:
        return Findings((), ())
    own, blank = _Seen(), _Seen()
    prepared = preprocess(picture.to(tensors[0].device), tensors[0].dtype).contiguous()
    try:
        _look(module, prepared, own)
        _look(module, torch.zeros_like(prepared), blank)
    except (ImpastoError, RuntimeError, ValueError, TypeError, IndexError, AssertionError):
        return Findings((), ())
    facts, problems = list[str](), list[str]()
    for fact, problem in (*_ranges(module, own, blank), *_order(own.first, preprocess)):
        facts.append(fact)
        problems += [] if problem is None else [f"{problem}: pictures are taken as {preprocess.words()}"]
    return Findings(tuple(facts), tuple(problems))


Judged = tuple[str, str | None]  # a fact, and what is wrong with it


@dataclass(eq=False)
class _Seen:
    """What a pass shows: the first layer with kernels, the first batch norm's mean and variance, the last answers."""

    first: nn.Module | None = None
    norm: tuple[Tensor, Tensor] | None = None
    last: Tensor = field(default_factory=lambda: torch.zeros(1))

    def see(self, layer: nn.Module, output: Tensor) -> None:
        """Note the output of a layer."""
        if isinstance(layer, _BatchNorm):
            self.norm = self.norm or _as_trained(layer, output)
            return
        self.first = self.first or layer
        self.last = output.detach().double().flatten()


def _look(module: nn.Module, prepared: Tensor, seen: _Seen) -> None:
    layers = {
        path: layer
        for path, layer in module.named_modules()
        if path and isinstance(layer, nn.Conv2d | nn.Linear | _BatchNorm)
    }

    def see(path: str, call: int, output: Any) -> bool:
        seen.see(layers[path], output)
        return False

    observe(module, prepared, layers, see)


def _as_trained(norm: _BatchNorm, output: Tensor) -> tuple[Tensor, Tensor] | None:
    """The mean and the variance of what a batch norm reads, in units of what it read in training: 0 and 1 if alike."""
    if norm.running_mean is None or output.ndim != 4:
        return None
    factor = torch.ones_like(norm.running_mean) if norm.weight is None else norm.weight.detach()
    offset = torch.zeros_like(factor) if norm.bias is None else norm.bias.detach()
    used = factor.abs() > 1e-3 * factor.abs().max()
    maps = output.detach().transpose(0, 1).flatten(1)[used].double()
    factor, offset = factor[used].double(), offset[used].double()
    return (maps.mean(1) - offset) / factor, maps.var(1) / factor.square()


def _ranges(module: nn.Module, own: _Seen, blank: _Seen) -> Iterator[Judged]:
    """Whether the range of colours is the one of the training, as far as this can be told."""
    length = float(own.last.norm())
    if own.norm is not None:
        yield _range_by_norm(*own.norm)
    elif 0 < length < math.inf and not any(_normalises(each) for each in module.modules()):
        yield _range_by_answers(own.last, blank.last, length)


def _range_by_norm(means: Tensor, variances: Tensor) -> Judged:
    """What the first batch norm reads, compared with what the norm read in training."""
    moved, spread = (float(each.median()) for each in (means.abs(), variances.clamp_min(1e-30).log()))
    fact = f"first batch norm: {moved:.2g} deviations from its mean in training, variance {math.exp(spread):.2g} times"
    if abs(spread) > SPREAD:
        return fact, (
            f"the first batch norm was trained on answers {_times(-spread / 2)} than these, so the range of "
            "colours is probably wrong"
        )
    if moved > MOVED:
        return fact, (
            f"the first batch norm finds answers {moved:.0f} deviations from those in training, so the mean colour "
            "is probably wrong"
        )
    return fact, None


def _range_by_answers(own: Tensor, blank: Tensor, length: float) -> Judged:
    """How large the last answers are, and how much of them a picture changes; `length` is the norm of `own`."""
    size, changed = length / len(own) ** 0.5, float((own - blank).norm()) / length
    fact = f"last answers: {size:.3g}, of which the picture changes {changed:.2f}"
    if changed < FAINT:
        return fact, (
            f"a picture changes the last answers by {changed:.2f} of their size only, where trained networks have "
            "about 1, so colours are probably too faint, or the weights untrained"
        )
    if size > BRIGHT:
        return fact, (
            f"the last answers are {size:.3g} large, where trained networks have 1 to 30, so colours are probably too "
            "bright"
        )
    return fact, None


def _normalises(layer: nn.Module) -> bool:
    """Whether a layer makes answers of any size equally large, so that they do not tell the range."""
    return "Norm" in type(layer).__name__


def _times(logarithm: float) -> str:
    return f"{math.exp(abs(logarithm)):.0f} times {'stronger' if logarithm > 0 else 'weaker'}"


def _order(first: nn.Module | None, preprocess: Preprocess) -> Iterator[Judged]:
    """Whether red and blue seem to be swapped: trained kernels see blue least."""
    if not isinstance(first, nn.Conv2d) or first.weight.shape[1] != 3 or preprocess.channels != 3:
        return
    strengths = first.weight.detach().double().square().sum((0, 2, 3)).sqrt()
    if preprocess.std is not None:
        strengths = strengths / torch.tensor(preprocess.std, dtype=torch.float64, device=strengths.device)
    red, _, blue = strengths.tolist() if preprocess.order == "rgb" else strengths.flip(0).tolist()
    wrong = None
    if red < SWAPPED * blue:
        wrong = (
            f"the first kernels see red {red / blue:.2f} times as strongly as blue, where trained networks have more "
            "than 1, so red and blue are probably swapped"
        )
    yield f"norm of the first kernels, red over blue: {red / max(blue, 1e-12):.2f}", wrong


def _small(photo: Image) -> Image:
    height, width = size_of(photo)
    scale = SIDE_PX / min(height, width)
    return resize(photo, (round(height * scale), round(width * scale)))
