"""Small pictures of a run while it paints: a recorder that sends some steps' pictures as JPEG files."""

import io
import time
from collections.abc import Callable

from PIL import Image as PillowImage

from impasto.images.files import to_pillow
from impasto.images.image import Image
from impasto.jobs.messages import Preview
from impasto.runs.recorders import Recorder, Watched
from impasto.synthesis.loop import Iterate

PREVIEW_PX = 768
EVERY_SECONDS = 0.25  # people see no more than a few pictures a second
PART_OF_THE_TIME = 0.02  # that previews may take from the run


class Previews(Recorder):
    """Sends the first picture, and then at most four pictures a second: fewer if making them takes long."""

    def __init__(self, send: Callable[[Preview], object]) -> None:
        self._send = send
        self._next = 0.0
        self._shown: Callable[[Image], Image] = lambda image: image

    def begin(self, part: Watched, first: Image) -> None:
        """Send the picture from which the part begins or goes on."""
        self._shown = part.shown
        self._show(part.step, first if part.step == 0 else None)

    def record(self, iterate: Iterate) -> None:
        """Send the picture, if one is due."""
        if time.monotonic() >= self._next or iterate.step == iterate.steps:
            self._show(iterate.step, iterate.image)

    def _show(self, step: int, image: Image | None) -> None:
        if image is None:  # a run that goes on: the picture shown before is the present one
            return
        begun = time.monotonic()
        self._send(Preview(step, preview(self._shown(image))))
        ended = time.monotonic()
        self._next = ended + max(EVERY_SECONDS, (ended - begun) / PART_OF_THE_TIME)


def preview(image: Image) -> bytes:
    """The image as a JPEG file whose long side is at most PREVIEW_PX."""
    picture, buffer = to_pillow(image), io.BytesIO()
    picture.thumbnail((PREVIEW_PX, PREVIEW_PX), PillowImage.Resampling.BILINEAR)
    picture.save(buffer, "JPEG", quality=88)
    return buffer.getvalue()
