"""A look at the print: a picture as four inks on paper would show it, with the colours that inks lack replaced.

The printer is a model made of published numbers, not a measured one: paper and solid inks of offset printing, and the
mixtures between them by Neugebauer's equations with Yule and Nielsen's correction. For a proof of your own printer,
give its ICC profile.
"""

import io
from functools import cache, partial
from itertools import product
from pathlib import Path
from typing import cast

import torch
from PIL import ImageCms
from torch import Tensor
from torch.nn import functional

from impasto.errors import ImageError
from impasto.finishing.bands import in_bands
from impasto.finishing.oklab import TO_CONES, TO_LAB, to_oklab
from impasto.formats.profiles import SRGB
from impasto.images.colours import SRGB as SCREEN
from impasto.images.colours import from_pillow
from impasto.images.files import to_pillow
from impasto.images.image import Image

# CIELAB (D50) of paper, inks and their overprints, on black backing. Source: ISO 12647-2:2004, table 3, paper type 1.
PAPER, CYAN, MAGENTA, YELLOW, BLACK = (93, 0, -3), (54, -36, -49), (46, 72, -5), (87, -6, 90), (16, 0, 0)
RED, GREEN, BLUE, THREE = (46, 67, 47), (49, -66, 24), (24, 16, -45), (22, 0, 0)
DARKEST = (9, 0, 0)  # black over any colour: an estimate, darker than black alone
SOLIDS: dict[tuple[int, ...], tuple[int, int, int]] = {
    (0, 0, 0): PAPER,
    (1, 0, 0): CYAN,
    (0, 1, 0): MAGENTA,
    (0, 0, 1): YELLOW,
    (0, 1, 1): RED,
    (1, 0, 1): GREEN,
    (1, 1, 0): BLUE,
    (1, 1, 1): THREE,
}
SPREAD = 1.7  # Yule and Nielsen's n, how far light wanders in paper. Source: Yule & Nielsen 1951, coated paper
GRID = 17  # colours of each axis for which inks are chosen; between them colours are interpolated
# Of Adam, in units of ink. With four times the steps, 99 of 100 colours change by less than 0.002 in Oklab, and all by
# less than 0.01.
STEPS, RATE = 150, 0.05
LIGHTNESS, CHROMA, HUE = 0.3, 0.4, 1.0  # weights of squared errors: a changed hue disturbs most


def proof(image: Image, printer: Path | None = None) -> Image:
    """The picture as it would look printed, on a screen; paper is shown as white.

    `printer` is an ICC profile of a printer; without it the inks are those of the model. Raises ImageError if the
    profile cannot be used.
    """
    return _of_model(image) if printer is None else _of_profile(image, printer)


def _of_model(image: Image) -> Image:
    table = ink_table().to(image.device)
    return in_bands(partial(_looked_up, table), image.clamp(0, 1))


def _looked_up(table: Tensor, image: Image) -> Image:
    places = image.permute(0, 2, 3, 1)[:, None] * 2 - 1  # red is the last axis of the table
    found = functional.grid_sample(table, places, mode="bilinear", padding_mode="border", align_corners=True)
    return found[:, :, 0]


@cache
def ink_table() -> Tensor:
    """The printed colour (1 3 blue green red) of each colour of a grid: the nearest that inks can make, in Oklab."""
    axis = torch.linspace(0, 1, GRID)
    blue, green, red = torch.meshgrid(axis, axis, axis, indexing="ij")
    wanted = to_oklab(torch.stack([red, green, blue])[None].flatten(3))
    inks = torch.full((1, 4, *wanted.shape[2:]), 0.5).requires_grad_()
    optimiser = torch.optim.Adam([inks], lr=RATE)
    for _ in range(STEPS):
        optimiser.zero_grad()
        torch.autograd.backward(_misses(_oklab(printed(inks)), wanted))
        optimiser.step()
        inks.data.clamp_(0, 1)  # so that paper without ink can be reached
    light = printed(inks.detach())
    colours = SRGB.curve.encoded(light.double().clamp(0, 1).numpy())
    return torch.from_numpy(colours).float().reshape(1, 3, GRID, GRID, GRID)


def _misses(found: Tensor, wanted: Tensor) -> Tensor:
    """The weighted squared errors of lightness, chroma and hue."""
    error = (found - wanted).square()
    chroma = (_chroma(found) - _chroma(wanted)).square()
    hue = error[:, 1:].sum(1, keepdim=True) - chroma
    return (LIGHTNESS * error[:, :1] + CHROMA * chroma + HUE * hue).sum()


def _chroma(lab: Tensor) -> Tensor:
    return (lab[:, 1:].square().sum(1, keepdim=True) + 1e-8).sqrt()


def printed(inks: Tensor) -> Tensor:
    """Linear light (1 3 h w), with paper as white, of the cover of cyan, magenta, yellow and black (1 4 h w)."""
    light = torch.zeros(())
    for solid, colour in _solids():
        cover = torch.ones(())
        for ink, present in enumerate(solid):
            cover = cover * (inks[:, ink] if present else 1 - inks[:, ink])
        light = light + cover[:, None] * colour.pow(1 / SPREAD)[None, :, None, None]
    return light.pow(SPREAD)


@cache
def _solids() -> tuple[tuple[tuple[int, ...], Tensor], ...]:
    """Each mixture of solid inks with its light."""
    found = []
    for solid in product((0, 1), repeat=4):
        colour = SOLIDS[solid[:3]] if not solid[3] else DARKEST if any(solid[:3]) else BLACK
        found.append((solid, _light(colour) / _light(PAPER)))
    return tuple(found)


def _light(lab: tuple[int, int, int]) -> Tensor:
    """Linear light in sRGB of a CIELAB colour. Source: CIE 15:2004, 8.2.1."""
    y = (lab[0] + 16) / 116
    bent = torch.tensor([y + lab[1] / 500, y, y - lab[2] / 200], dtype=torch.float64)
    xyz = torch.where(bent > 6 / 29, bent**3, 3 * (6 / 29) ** 2 * (bent - 4 / 29)) * torch.tensor([0.9642, 1, 0.8249])
    light: Tensor = torch.linalg.solve(torch.from_numpy(SRGB.matrix), xyz)
    return light.clamp(min=1e-3).float()


def _oklab(light: Tensor) -> Tensor:
    cones = torch.einsum("ij,njhw->nihw", torch.tensor(TO_CONES), light)
    return torch.einsum("ij,njhw->nihw", torch.tensor(TO_LAB), cones.clamp(min=1e-6).pow(1 / 3))


def _of_profile(image: Image, printer: Path) -> Image:
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(printer.read_bytes()))
        _require_inks(profile.profile.device_class, profile.profile.xcolor_space)
        transform = ImageCms.buildProofTransform(
            SCREEN,
            SCREEN,
            profile,
            "RGB",
            "RGB",
            proofRenderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,  # paper is white
            flags=ImageCms.Flags.SOFTPROOFING,
        )
        found = ImageCms.applyTransform(to_pillow(image), transform)
    except OSError as error:
        words = error.strerror or "it is not a colour profile"
        raise ImageError(f"{printer} cannot be used for a proof: {words}") from None
    except (ImageCms.PyCMSError, ValueError, TypeError):
        raise ImageError(f"{printer} cannot be used for a proof: it is not the profile of a printer") from None
    return from_pillow(cast("object", found))  # type: ignore[arg-type]


def _require_inks(device: str, space: str) -> None:
    """Raise ValueError for a screen, a camera or a grey, whose proof would be the picture itself."""
    if space.strip() != "CMYK" and (device != "prtr" or space.strip() == "GRAY"):
        raise ValueError(f"a profile of class {device} for {space}")
