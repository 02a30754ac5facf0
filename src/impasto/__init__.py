"""Look at what a convolutional network keeps of a picture, and paint with it.

The public names are written in `__init__.pyi`. A name is imported when it is first used, so `import impasto` costs
nothing.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
