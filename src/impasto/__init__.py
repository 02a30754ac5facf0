"""Look at what a convolutional network keeps of a picture, and paint with it.

The public names are written in `__init__.pyi`. A name is imported when it is first used, so `import impasto` costs
nothing.
"""


def __getattr__(name: str) -> object:
    from impasto.extras import own_version, public_names  # not `from impasto import …`, which would ask this function

    if name == "__version__":
        return own_version()
    public, _, names = public_names()
    return names if name == "__all__" else public(name)


def __dir__() -> list[str]:
    from impasto.extras import public_names

    return public_names()[1]()
