"""The check of shapes, as jaxtyping asks for it: beartype's, but not where nobody will look at what it finds."""

from collections.abc import Callable
from typing import Any

from beartype import beartype
from jaxtyping import config

Function = Callable[..., Any]


def checked(function: Function) -> Function:
    """The function with its annotations checked.

    A function within a function is made anew at each call, and so is its check, which costs as much as many calls:
    while shapes are not checked, the function stays as it is.
    """
    within = "<locals>" in function.__qualname__
    return function if within and config.jaxtyping_disable else beartype(function)
