"""Pages parsed for tests: their elements and the pictures in them."""

import base64
from html.parser import HTMLParser
from io import BytesIO

from PIL import Image as PillowImage

VOID = {"meta", "img", "input", "link", "br"}


class Outline(HTMLParser):
    """Elements of a page with their attributes, and whether they are closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self._open: list[str] = []
        self.feed(page)
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag, tag

    def every(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def decoded(uri: str | None) -> PillowImage.Image:
    assert uri is not None
    assert uri.startswith("data:image/webp;base64,")
    return PillowImage.open(BytesIO(base64.b64decode(uri.partition(",")[2])))
