"""First pictures: a little noise from the seed breaks symmetry, and other pictures are left as they are."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from conftest import example, random_image
from impasto.images.image import resize
from impasto.synthesis.inits import Init, covering, from_image, noise, uneven


def plain(red: float, green: float, blue: float) -> Tensor:
    return torch.tensor([red, green, blue]).reshape(1, 3, 1, 1).expand(1, 3, 30, 40).contiguous()


EVEN = {
    "grey": plain(0.5, 0.5, 0.5),
    "beige": plain(0.87, 0.8, 0.67),
    "black": plain(0.0, 0.0, 0.0),
    "a ramp": torch.linspace(0, 1, 40).expand(1, 3, 30, 40).contiguous(),
    "stripes": (torch.arange(30) % 2).float()[:, None].expand(1, 3, 30, 40).contiguous(),
}


@pytest.mark.parametrize("make", [from_image, covering])
@pytest.mark.parametrize("name", EVEN)
def test_even_pictures_get_a_little_noise(name: str, make: Callable[[Tensor, int], Init]) -> None:
    image = EVEN[name]
    size = (15, 20)
    first, again, other = (make(image, seed)(size) for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.min() >= 0
    assert first.max() <= 1
    added = first - resize(image, size)
    assert 0 < added.abs().max() < 0.1
    for axis in (2, 3):  # black takes only what is lighter
        assert (first.diff(dim=axis) != 0).any(1).float().mean() > 0.4


def test_pictures_of_something_are_left_as_they_are() -> None:
    for image in (example("kingfisher", (60, 80)), random_image(20, 30), noise(1)((20, 30))):
        assert uneven(image, 0) is image
