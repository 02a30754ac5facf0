"""Files made of a finished run when they are asked for: a TIFF of 16 bits a colour, a video.

A process of its own makes each file and ends, so that the studio need not load PyTorch.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from impasto.errors import RunFolderError
from impasto.folders.records import RunRecord

TIFF, VIDEO = "result.tif", "progress.mp4"


def tiff(record: RunRecord) -> Path:
    """The result as a TIFF of 16 bits a colour in the run's folder. Raises an ImpastoError."""
    result = record.parts[0].result
    if result is None:
        raise RunFolderError(f"{record.name} has no picture yet")
    return _made(record.folder / TIFF, result, _write_tiff, result)


def video(record: RunRecord) -> Path:
    """The run as a video in its folder. Raises RunFolderError without frames, SpecError without the extra."""
    frames = [frame.path for frame in record.parts[0].frames]
    if not frames:
        raise RunFolderError(f"{record.name} has kept no frames; paint with frames above 0")
    return _made(record.folder / VIDEO, frames[-1], _write_video, frames)


def _made(out: Path, source: Path, write: Callable[[Any, Path], None], content: object) -> Path:
    """The file, made again if it is not of its source's time: a clock that is set back makes a new source look old."""
    made = source.stat()
    if not out.is_file() or out.stat().st_mtime_ns != made.st_mtime_ns:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
            process.submit(write, content, out).result()
        os.utime(out, ns=(made.st_atime_ns, made.st_mtime_ns))
    return out


def _write_tiff(picture: Path, out: Path) -> None:
    from impasto.images.forms import FileForm
    from impasto.sequels.exporting import export

    export(picture, out, form=FileForm(depth=16), force=True)


def _write_video(frames: Sequence[Path], out: Path) -> None:
    from PIL import Image as PillowImage

    from impasto.images.animations import of_one_size, save_animation

    save_animation(of_one_size([PillowImage.open(frame).convert("RGB") for frame in frames]), out)
