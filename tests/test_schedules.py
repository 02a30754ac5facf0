"""First pictures and sizes."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from conftest import random_image
from impasto.errors import SpecError
from impasto.images.image import resize
from impasto.synthesis.inits import covering, from_image, noise
from impasto.synthesis.schedules import Stage, octaves, share, single

sides = st.integers(1, 3000)


def test_single() -> None:
    assert single((30, 40), 7) == (Stage((30, 40), 7),)


def test_octaves_by_hand() -> None:
    assert octaves((600, 800), 100) == (
        Stage((150, 200), 400),
        Stage((300, 400), 200),
        Stage((600, 800), 100),
    )
    assert octaves((512, 512), 50, smallest_px=256, ratio=0.25) == (Stage((256, 256), 200), Stage((512, 512), 50))
    assert octaves((900, 300), 10, smallest_px=50, factor=3.0, ratio=1.0) == (
        Stage((100, 33), 10),
        Stage((300, 100), 10),
        Stage((900, 300), 10),
    )


@given(sides, sides, st.integers(1, 500), st.integers(16, 512), st.floats(1.2, 4), st.floats(0.2, 2))
def test_octaves(height: int, width: int, steps: int, smallest: int, factor: float, ratio: float) -> None:
    schedule = octaves((height, width), steps, smallest_px=smallest, factor=factor, ratio=ratio)
    assert schedule[-1] == Stage((height, width), steps)
    assert len(schedule) == 1 or max(schedule[0].size) >= smallest - 1
    assert len(schedule) == 1 or min(schedule[0].size) >= 31
    # Another stage would have been too small.
    assert max(schedule[0].size) / factor < smallest or min(schedule[0].size) / factor < 32
    for stage, following in pairwise(schedule):
        assert stage.size == pytest.approx([side / factor for side in following.size], abs=0.51)
    for index, stage in enumerate(reversed(schedule)):
        assert stage.steps == pytest.approx(max(1, steps / ratio**index), abs=0.51)


def test_share_by_hand() -> None:
    """A step of 384 × 128 px is four times the work of one of 0 px: 16,384 px are what a step costs anyway."""
    schedule = (Stage((0, 0), 8), Stage((128, 384), 2))
    assert [share(schedule, 1, 4), share(schedule, 1, 8), share(schedule, 2, 1)] == [4 / 16, 8 / 16, 12 / 16]
    assert share(schedule, 2, 2) == 1
    assert share(single((30, 40), 8), 1, 2) == 1 / 4


@pytest.mark.parametrize(
    "change", [{"factor": 1.0001}, {"factor": 1.0}, {"factor": 0.5}, {"factor": float("nan")}, {"ratio": 0.0}]
)
def test_octaves_that_would_never_end(change: dict[str, float]) -> None:
    with pytest.raises(SpecError, match=r"octaves need a factor from 1\.1 and a ratio above 0"):
        octaves((600, 800), 100, **change)


# First pictures ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("deviation", [0.02, 0.1])
def test_noise(deviation: float) -> None:
    image = noise(5, deviation)((200, 300))
    assert image.shape == (1, 3, 200, 300)
    assert image.dtype == torch.float32
    assert image.mean().item() == pytest.approx(0.5, abs=deviation / 50)
    assert image.std().item() == pytest.approx(deviation, rel=0.02)
    assert image[0].flatten(1).corrcoef().sub(torch.eye(3)).abs().max() < 0.02  # channels know nothing of each other
    assert (image[..., 1:] - 0.5).mul(image[..., :-1] - 0.5).mean().abs() < 0.02 * deviation**2  # nor neighbours


def test_noise_stays_in_range() -> None:
    image = noise(0, 2.0)((50, 50))
    assert image.min() == 0
    assert image.max() == 1


def test_seeds() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first, again, other = noise(7)((9, 8)), noise(7)((9, 8)), noise(8)((9, 8))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)  # the caller's own numbers are left alone


def test_pictures_as_first_pictures() -> None:
    image = random_image(40, 20, dtype=torch.float32)
    assert torch.equal(from_image(image)((10, 30)), resize(image, (10, 30)))
    assert torch.allclose(covering(image)((10, 10)), resize(image[:, :, 10:30], (10, 10)))
    assert torch.equal(from_image(image)((40, 20)), image)
