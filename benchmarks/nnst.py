"""Neural Neighbor Style Transfer rebuilt from its paper and its authors' code, for comparison.

Source: Kolkin et al. 2022 (arXiv:2203.13215) and nkolkin13/NeuralNeighborStyleTransfer (MIT): VGG-16, ten layers, each
divided by its number of channels and resized to a quarter of the picture; each position's target is the nearest style
feature by centred cosine, rotated copies of the style included; 200 steps of Adam on a Laplacian pyramid at each of
64, 128 … px; then 200 steps at full size in which each layer, sampled on a grid, is matched anew in each step.
As released, the last pass compares the maps of at most 64 positions across with those of a shallower layer; here these
layers are left out (`mended` False), or compared as meant (`mended` True). Departures: no colour correction at the end,
which takes the photo's colours and so moves away from the style; each layer is divided by its root mean square instead
of its channels, because with these weights block 4 would have a twentieth of the energy.
"""

import torch
from torch import Tensor
from torch.nn import functional

from impasto.images.image import Image, resize, size_of, size_with_long_side
from impasto.networks.network import Network

LAYERS = tuple(f"relu{block}_{n}" for block, most in enumerate((2, 2, 3, 3), start=1) for n in range(1, most + 1))
LEVELS = 8
STEPS = 200
RATE = 2e-3
PHOTO = 0.75  # of the picture that asks for neighbours
ACROSS = 64  # positions at which the last pass samples a layer


def nnst(network: Network, photo: Image, painting: Image, size_px: int, *, mended: bool = True) -> Image:
    """The picture after the last pass, in [0, 1]."""
    image, sides = None, [64]
    while 2 * sides[-1] <= size_px:
        sides.append(2 * sides[-1])
    for number, side in enumerate(sides):
        content = resize(photo, size_with_long_side(size_of(photo), side))
        style = resize(painting, size_with_long_side(size_of(painting), side))
        levels = _pyramid(content)
        if image is None:
            start = [torch.zeros_like(level) if n < 3 else level for n, level in enumerate(levels)]
            asking = content
        else:
            start = _pyramid(_scaled(image, size_of(content)))
            asking = PHOTO * content + (1 - PHOTO) * _image([levels[0], *start[1:]])
        target = _targets(network, asking, style)
        image = _descend(start, lambda picture, target=target: _error(_columns(network, picture), target))
        if number == len(sides) - 1:
            image = _split(network, image, style, mended)
    return image.clamp(0, 1)


def _descend(levels: list[Tensor], loss) -> Image:  # type: ignore[no-untyped-def]
    variables = [level.clone().requires_grad_() for level in levels]
    optimiser = torch.optim.Adam(variables, lr=RATE)
    for _ in range(STEPS):
        optimiser.zero_grad()
        loss(_image(variables)).backward()
        optimiser.step()
    return _image(variables).detach()


def _split(network: Network, image: Image, style: Image, mended: bool) -> Image:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        banks = {layer: maps.float().flatten(2)[0].T for layer, maps in network(style, LAYERS).items()}

    def loss(picture: Image) -> Tensor:
        total = picture.new_zeros(())
        for layer, maps in network(picture, LAYERS).items():
            step = max(1, maps.shape[3] // ACROSS)
            if step == 1 and maps.shape[3] <= ACROSS and not mended:
                continue
            top, left = (int(torch.randint(step, (), generator=generator)) for _ in range(2))
            found = maps[0, :, top::step, left::step].float().flatten(1).T
            bank = banks[layer][:: max(1, len(banks[layer]) // ACROSS**2)]
            f, b = (functional.normalize(each - each.mean(0), dim=1) for each in (found, bank))
            total = total + (1 - (f @ b.T).amax(1)).mean()
        return total

    return _descend(_pyramid(image), loss)


def _columns(network: Network, image: Image) -> Tensor:
    """(positions, channels) of all layers at a quarter of the picture's size."""
    size = max(1, image.shape[2] // 4), max(1, image.shape[3] // 4)
    maps = [each.float() for each in network(image, LAYERS).values()]
    spread = [functional.interpolate(each, size, mode="bilinear", align_corners=True) for each in maps]
    divided = [each / each.detach().square().sum(1).mean().sqrt() for each in spread]
    return torch.cat(divided, 1)[0].flatten(1).T


@torch.no_grad()
def _targets(network: Network, asking: Image, style: Image) -> Tensor:
    bank = torch.cat([_columns(network, torch.rot90(style, turns, (2, 3))) for turns in range(4)])
    ours = _columns(network, asking)
    keys = functional.normalize(bank - bank.mean(0), dim=1).T
    asked = functional.normalize(ours - ours.mean(0), dim=1)
    return bank[torch.cat([(chunk @ keys).argmax(1) for chunk in asked.split(256)])]


def _error(found: Tensor, target: Tensor) -> Tensor:
    return (1 - functional.cosine_similarity(found, target, dim=1)).mean()


def _pyramid(image: Image) -> list[Tensor]:
    levels = []
    for _ in range(LEVELS - 1):
        if min(size_of(image)) < 4:
            break
        half = _scaled(image, (image.shape[2] // 2, image.shape[3] // 2))
        levels.append(image - _scaled(half, size_of(image)))
        image = half
    return [*levels, image]


def _image(levels: list[Tensor]) -> Image:
    image = levels[-1]
    for level in reversed(levels[:-1]):
        image = level + _scaled(image, size_of(level))
    return image


def _scaled(image: Tensor, size: tuple[int, int]) -> Tensor:
    return functional.interpolate(image, size, mode="bilinear", align_corners=False)
