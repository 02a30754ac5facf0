"""How strongly a layer answers to pictures that show nothing: the measure in which responses are compared.

Layers answer in numbers of any size. Divided by how much the layer's map varies over noise with a photograph's
statistics, the responses of all layers of all networks compare, and one setting serves them all.
"""

from functools import lru_cache

import torch
from torch import Tensor

from impasto.images.image import Image
from impasto.images.noise import noise_picture
from impasto.networks.network import Network
from impasto.networks.passes import wide

PICTURES = 4  # half of them with edges
SIDE_PX = 128
SEED = 16


def variation(network: Network, layer: str) -> float:
    """The root mean square of the layer's map, less each channel's mean, over noise pictures; 1 for a dead layer."""
    rows = _rows(network, layer)
    varies = float((rows - rows.mean(0)).square().mean().sqrt())
    return varies if varies > 0 else 1.0


def energy(network: Network, layer: str) -> float:
    """The mean square of the layer's map over noise pictures; 1 for a dead layer."""
    found = float(_rows(network, layer).square().mean())
    return found if found > 0 else 1.0


def usual(network: Network, layer: str) -> Tensor:
    """Each channel's mean over noise pictures (channels,)."""
    return _rows(network, layer).mean(0)


def _rows(network: Network, layer: str) -> Tensor:
    """The features of all positions of all noise pictures (positions, channels)."""
    side = max(SIDE_PX, network.smallest_side([layer]))
    rows = []
    with torch.no_grad():
        for picture in _pictures(side):
            own = picture.to(network.device, copy=True)  # a module may write into what it is given
            rows.append(wide(network(own, [layer])[layer])[0].flatten(1).T.clone())
    return torch.cat(rows)


@lru_cache(maxsize=1)
def _pictures(side: int) -> list[Image]:
    """The noise pictures, the same for all layers and networks."""
    generator = torch.Generator().manual_seed(SEED)
    return [noise_picture(side, generator, leaves=number % 2 == 1) for number in range(PICTURES)]
