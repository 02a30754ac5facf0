"""Published recipes of inversion, each written from its published constants, for comparison.

All minimise the distance of one layer's activations to a target, from noise, for a number of evaluations, on one
network. Pixels are in [0, 1] here; a grey level of the papers (0 … 255) is 255 times a pixel.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

Loss = Callable[[Tensor], Tensor]  # normalised squared error of the features of an image
Recipe = Callable[[Loss, tuple[int, int], int, int], Tensor]  # loss, size, evaluations, stride of the layer


def _noise(size: tuple[int, int], deviation: float) -> Tensor:
    return 0.5 + deviation * torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(0))


def _gradient(loss: Tensor, variable: Tensor) -> Tensor:
    return torch.autograd.grad(loss, variable)[0]


def _adam(rate: float) -> Recipe:
    def recipe(loss: Loss, size: tuple[int, int], evaluations: int, stride: int) -> Tensor:
        image = _noise(size, 0.29).clamp(0, 1).requires_grad_()
        optimiser = torch.optim.Adam([image], lr=rate)
        for _ in range(evaluations):
            optimiser.zero_grad()
            (1000 * loss(image)).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            with torch.no_grad():
                image.clamp_(0, 1)
        return image.detach()

    return recipe


def lbfgs(loss: Loss, size: tuple[int, int], evaluations: int, stride: int) -> Tensor:
    """PyTorch's L-BFGS, strong Wolfe, history 50, unbounded; the result is clipped when it is saved."""
    image = _noise(size, 0.1).requires_grad_()
    optimiser = torch.optim.LBFGS(
        [image],
        max_iter=evaluations,
        max_eval=evaluations,
        history_size=50,
        tolerance_grad=0,
        tolerance_change=0,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        optimiser.zero_grad()
        value = 1000 * loss(image)
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    return image.detach()


def _roughness(grey_levels: Tensor) -> Tensor:
    across = functional.pad(grey_levels[..., :, 1:] - grey_levels[..., :, :-1], (0, 1))
    down = functional.pad(grey_levels[..., 1:, :] - grey_levels[..., :-1, :], (0, 0, 0, 1))
    return (across.square() + down.square()).sum()


def mahendran2015(loss: Loss, size: tuple[int, int], evaluations: int, stride: int) -> Tensor:
    """Gradient descent with momentum .9; λ of the total variation by depth: .5, 5 or 50; α = 6.

    Rates .004 · (1, .1, .01), the published 400 iterations cut down to `evaluations` in proportion; momentum starts
    afresh with each rate. Source: CVPR 2015 and its code, deep-goggle.
    """
    sigma2 = 27098.116**2 * size[0] * size[1] / 227**2
    smoothness = {1: 0.5, 2: 0.5, 4: 5.0, 8: 5.0, 16: 50.0}[stride]
    x = _noise(size, 0.27).sub(0.5).mul(255)  # about the mean, grey levels

    def energy(levels: Tensor) -> Tensor:
        priors = smoothness / 2 * _roughness(levels) + 8e-10 / 2 * levels.pow(6).sum()
        return loss(levels / 255 + 0.5) + priors / sigma2

    for share, rate in ((0.25, 0.004), (0.5, 0.0004), (0.25, 0.00004)):
        momentum = torch.zeros_like(x)
        for _ in range(round(share * evaluations)):
            levels = x.detach().requires_grad_()
            momentum = 0.9 * momentum - rate * sigma2 * _gradient(energy(levels), levels)
            x = x + momentum
    return x.div(255).add(0.5)


def mahendran2016(loss: Loss, size: tuple[int, int], evaluations: int, stride: int) -> Tensor:
    """RMSprop with momentum and jitter of a quarter of the stride; the last seventh without, at a tenth of the rate.

    C = 300 for shallow layers, 100 for the middle, 20 for deep ones; colours bounded to a norm of 2 B, B = 80.
    Source: IJCV 2016 and its code, nnpreimage.
    """
    bound, count = 80.0, size[0] * size[1]
    fidelity = {1: 300.0, 2: 300.0, 4: 100.0, 8: 100.0, 16: 20.0}[stride]
    jitter = max(round(stride / 4), 1)
    height, width = size[0] + jitter - 1, size[1] + jitter - 1
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(1, 3, height, width, generator=generator) * 2 - 1
    x = x / x.abs().flatten().kthvalue(int(0.95 * x.numel())).values * bound / 3**0.5
    squares, momentum = torch.zeros_like(x), torch.zeros_like(x)
    clean = evaluations // 7
    for step in range(evaluations):
        last = step >= evaluations - clean
        if step == evaluations - clean:  # the second phase goes on from the middle of the jittered picture
            top, left = (height - size[0]) // 2, (width - size[1]) // 2
            x = x[..., top : top + size[0], left : left + size[1]].clone()
            squares, momentum = torch.zeros_like(x), torch.zeros_like(x)
        rate = count * 0.05 * bound**2 / 6 * (0.1 if last else 1.0)
        spread = 1 if last else jitter
        top, left = (int(torch.randint(spread, (), generator=generator)) for _ in range(2))
        levels = x.detach().requires_grad_()
        seen = levels[..., top : top + size[0], left : left + size[1]]
        colours = levels.square().sum(1).pow(3).sum() / bound**6 / count
        smooth = (6.5 / bound) ** 2 * _roughness(levels) / count
        gradient = _gradient(fidelity * loss(seen / 255 + 0.5) + colours + smooth, levels)
        squares = 0.9 * squares + gradient.square()
        momentum = 0.9 * momentum - gradient / (1 / rate + squares.sqrt())
        x = x + momentum
        x = x * (2 * bound / x.norm(dim=1, keepdim=True).clamp_min(1e-9)).clamp_max(1)
    return x.div(255).add(0.5)


RECIPES: dict[str, Recipe] = {
    "report: Adam 0.001, clipped": _adam(0.001),
    "Adam 0.02, clipped": _adam(0.02),
    "L-BFGS, strong Wolfe": lbfgs,
    "Mahendran & Vedaldi 2015": mahendran2015,
    "Mahendran & Vedaldi 2016": mahendran2016,
}
