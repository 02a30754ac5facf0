"""Look at what a convolutional network keeps of a picture, and paint with it.

The public names are written in `__init__.pyi`. A name is imported when it is first used, so `import impasto` costs
nothing.
"""

from typing import Any

import lazy_loader

_public, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from impasto.extras import own_version

        return own_version()
    return _public(name)
