"""Files made of a finished run when they are asked for: a TIFF of 16 bits a colour, a video."""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from PIL import Image as PillowImage

from impasto.errors import RunFolderError
from impasto.folders.records import RunRecord
from impasto.images.animations import save_animation

TIFF, VIDEO = "result.tif", "progress.mp4"


def tiff(record: RunRecord) -> Path:
    """The result as a TIFF of 16 bits a colour in the run's folder. Raises an ImpastoError.

    A process of its own makes the file and ends, so that the studio need not load PyTorch.
    """
    if record.parts[0].result is None:
        raise RunFolderError(f"{record.name} has no picture yet")
    out = record.folder / TIFF
    if not out.is_file() or out.stat().st_mtime < record.parts[0].result.stat().st_mtime:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
            process.submit(_write_tiff, record.parts[0].result, out).result()
    return out


def video(record: RunRecord) -> Path:
    """The run as a video in its folder. Raises RunFolderError without frames, SpecError without the extra."""
    frames = record.parts[0].frames
    if not frames:
        raise RunFolderError(f"{record.name} has kept no frames; paint with frames above 0")
    out = record.folder / VIDEO
    if not out.is_file() or out.stat().st_mtime < frames[-1].path.stat().st_mtime:
        pictures = [PillowImage.open(frame.path).convert("RGB") for frame in frames]
        save_animation([picture.resize(pictures[-1].size) for picture in pictures], out)
    return out


def _write_tiff(picture: Path, out: Path) -> None:
    from impasto.images.forms import FileForm
    from impasto.sequels.exporting import export

    export(picture, out, form=FileForm(depth=16), force=True)
