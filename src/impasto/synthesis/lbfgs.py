"""L-BFGS with bounds on the parameters, with or without a strong Wolfe line search."""

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from impasto.synthesis.optimisers import NOISE, Evaluate, Evaluation, MakeOptimiser, Memory, Project, Update
from impasto.synthesis.parameterisations import Parameters


class _Pair(NamedTuple):
    step: Tensor
    change: Tensor  # of the gradient over that step
    curvature: float  # their inner product


class _Trial(NamedTuple):
    length: float
    parameters: Tensor
    at: Evaluation
    slope: float


@dataclass
class LBFGS:
    """Limited-memory quasi-Newton steps, with a strong Wolfe line search or (`line_search` False) without.

    Variables at a bound that would leave the box are kept fixed; the others move along the quasi-Newton direction,
    projected onto the box. Without bounds this is Nocedal & Wright 2006, algorithms 7.4, 3.5 and 3.6.
    Departs: the projection (after Bertsekas 1982), a first step of fixed root mean square, and without a line search
    no step longer than five first steps.
    """

    history: int = 10
    line_search: bool = True
    first_step: float = 0.02
    most_trials: int = 12
    pairs: deque[_Pair] = field(default_factory=deque)
    last: tuple[Tensor, Evaluation] | None = None  # where the last step started
    here: Evaluation | None = None  # at the current parameters, if the last line search has computed it

    def step(self, parameters: Parameters, evaluate: Evaluate, project: Project) -> Update:
        """One update, from one evaluation; with a line search from as many as the search needs, mostly one."""
        here = self.here or evaluate(parameters)
        self.here = None
        if not math.isfinite(here.loss):
            return Update(parameters, here)
        if self.last is not None:
            self._remember(parameters - self.last[0], here.gradient - self.last[1].gradient)
        self.last = (parameters, here)
        # A variable is at a bound if a tiny step against its gradient is projected back to where it started.
        fixed = project(here.gradient.sign().mul_(-1e-4).add_(parameters)) == parameters
        fixed &= here.gradient != 0
        gradient = here.gradient.masked_fill(fixed, 0)
        direction = self._direction(gradient).masked_fill_(fixed, 0)
        slope = _dot(direction, gradient)
        if not slope < 0:  # the stored pairs mislead, or the gradient is zero
            self.pairs.clear()
            direction = self._direction(gradient)
            slope = _dot(direction, gradient)
            if not slope < 0:
                return Update(parameters, here, converged=True)
        del fixed, gradient  # each is as large as the picture
        if not self.line_search:  # without a search nothing rejects a step that is far too long
            longest = 5 * self.first_step * direction.numel() ** 0.5
            shorten = min(1.0, longest / _dot(direction, direction) ** 0.5)
            return Update(project(direction.mul_(shorten).add_(parameters)), here)

        def attempt(length: float) -> _Trial:
            free = torch.add(parameters, direction, alpha=length)
            there = project(free)
            inside = free == there
            del free
            at = evaluate(there)
            return _Trial(length, there, at, _dot(at.gradient, direction * inside))

        found, flat = strong_wolfe(attempt, _Trial(0.0, parameters, here, slope), self.most_trials)
        self.here = found.at
        if flat or found.at.loss < here.loss - NOISE * abs(here.loss):
            return Update(found.parameters, here)
        converged = not self.pairs
        self.pairs.clear()  # the stored pairs mislead, or only rounding is left: restart along the gradient, once
        self.last = None
        return Update(found.parameters, here, converged)

    def state(self) -> Memory:
        """The pairs, the start of the last step, and the evaluation that the last line search ended with."""
        return {"pairs": tuple(self.pairs), "last": self.last, "here": self.here}

    def restore(self, memory: Memory) -> None:
        """Continue from a state."""
        last, here = memory["last"], memory["here"]
        self.pairs = deque(_Pair(*pair) for pair in memory["pairs"][-self.history :])  # the history may be shorter now
        self.last = None if last is None else (last[0], Evaluation(*last[1]))
        self.here = None if here is None else Evaluation(*here)

    def _remember(self, step: Tensor, change: Tensor) -> None:
        curvature = _dot(step, change)
        if curvature > 1e-10 * _dot(change, change) ** 0.5 * _dot(step, step) ** 0.5:
            self.pairs.append(_Pair(step, change, curvature))
            if len(self.pairs) > self.history:
                self.pairs.popleft()

    def _direction(self, gradient: Tensor) -> Tensor:
        """Minus the inverse Hessian, as the pairs approximate it, times the gradient: the two-loop recursion."""
        if not self.pairs:
            size = _dot(gradient, gradient) ** 0.5
            return gradient * (-self.first_step * gradient.numel() ** 0.5 / size) if size > 0 else -gradient
        direction = -gradient
        factors = []
        for pair in reversed(self.pairs):
            factor = _dot(pair.step, direction) / pair.curvature
            direction = direction.add_(pair.change, alpha=-factor)
            factors.append(factor)
        newest = self.pairs[-1]
        direction.mul_(newest.curvature / _dot(newest.change, newest.change))
        for pair, factor in zip(self.pairs, reversed(factors), strict=True):
            direction.add_(pair.step, alpha=factor - _dot(pair.change, direction) / pair.curvature)
        return direction


def strong_wolfe(attempt: Callable[[float], _Trial], start: _Trial, most: int) -> tuple[_Trial, bool]:
    """A trial that satisfies both strong Wolfe conditions and True; else the best trial found and False.

    The best trial is the start itself if none lowered the loss. A trial whose loss is not finite counts as too long.
    Source: Nocedal & Wright 2006, algorithms 3.5 and 3.6.
    """

    def too_high(trial: _Trial) -> bool:
        allowed = start.at.loss + 1e-4 * trial.length * start.slope
        return not math.isfinite(trial.at.loss) or trial.at.loss > allowed

    def flat(trial: _Trial) -> bool:
        return abs(trial.slope) <= -0.9 * start.slope

    low, high, length = start, None, 1.0
    for _ in range(most):
        trial = attempt(length)
        if too_high(trial) or (trial.at.loss >= low.at.loss and low.length > 0):
            high = trial
        elif flat(trial):
            return trial, True
        elif high is None and trial.slope < 0:  # still descending: try a longer step
            low, length = trial, 2.5 * trial.length
            continue
        else:
            if high is None or trial.slope * (high.length - low.length) >= 0:
                high = low
            low = trial
        length = _between(low, high)
    return low, False


def _between(low: _Trial, high: _Trial) -> float:
    """The minimum of the cubic through both trials, kept away from the ends of the interval."""
    width = high.length - low.length
    best = low.length + 0.2 * width
    if math.isfinite(high.at.loss):
        bend = low.slope + high.slope - 3 * (high.at.loss - low.at.loss) / width
        root = bend * bend - low.slope * high.slope
        if root >= 0:
            root = math.copysign(root**0.5, width)
            divisor = high.slope - low.slope + 2 * root
            if divisor:
                best = high.length - width * (high.slope + root - bend) / divisor
    ends = sorted((low.length + 0.1 * width, low.length + 0.9 * width))
    return min(max(best, ends[0]), ends[1])


def _dot(a: Tensor, b: Tensor) -> float:
    return float(torch.dot(a, b))


def lbfgs(*, history: int = 10, line_search: bool = True) -> MakeOptimiser:
    """L-BFGS for each stage, with a strong Wolfe line search or without; a stage may have a shorter history."""
    return lambda stage: LBFGS(min(history, stage.history or history), line_search)
