"""Animations of a synthesis: the steps that they show, and writing them as GIF, WebP and MP4."""

import io
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image as PillowImage

from impasto.extras import import_video
from impasto.files import write_bytes
from impasto.images.image import size_with_long_side

BT709 = 1  # H.264's number for the colours of HD video and of sRGB screens


def save_animation(frames: Sequence[PillowImage.Image], path: Path, *, frame_ms: int = 90, hold_ms: int = 1500) -> None:
    """Write frames of one size as an animation that holds the last frame: GIF, WebP or MP4, by the path's ending.

    GIF and WebP loop for ever; identical frames may be merged into one that is shown for as long. MP4 is H.264 in
    yuv420p, with sizes rounded down to even ones; it needs the extra `video` (SpecError if that is not installed).
    """
    match path.suffix:
        case ".gif":
            content = _gif(frames, [frame_ms] * (len(frames) - 1) + [hold_ms])
        case ".webp":
            content = _webp(frames, [frame_ms] * (len(frames) - 1) + [hold_ms])
        case ".mp4":
            content = _mp4([*frames, *[frames[-1]] * (round(hold_ms / frame_ms) - 1)], frame_ms)
        case _:
            raise ValueError(f"{path.name} is no .gif, .webp or .mp4")
    write_bytes(path, content)


def _gif(frames: Sequence[PillowImage.Image], durations_ms: Sequence[int]) -> bytes:
    """All frames share one palette in the file's head: no flicker, and no palette is written twice."""
    palette = _shared_palette(frames)

    def indexed(frame: PillowImage.Image) -> PillowImage.Image:
        return frame.quantize(palette=palette, dither=PillowImage.Dither.FLOYDSTEINBERG)

    buffer = io.BytesIO()
    indexed(frames[0]).save(
        buffer,
        "GIF",
        save_all=True,
        append_images=(indexed(frame) for frame in frames[1:]),
        duration=list(durations_ms),
        loop=0,
        optimize=False,
        disposal=1,
        palette=bytes(palette.getpalette("RGB") or b""),
    )
    return buffer.getvalue()


def _shared_palette(frames: Sequence[PillowImage.Image]) -> PillowImage.Image:
    """256 colours for all frames together; the last frame has most weight, since it is shown longest."""
    sampled = [*frames, *[frames[-1]] * (len(frames) // 2)]
    side = max(8, min(128, int((2**20 / len(sampled)) ** 0.5)))  # a million pixels, for any number of frames
    mosaic = PillowImage.new("RGB", (side, side * len(sampled)))
    for index, frame in enumerate(sampled):
        mosaic.paste(frame.resize((side, side), PillowImage.Resampling.NEAREST), (0, side * index))
    return mosaic.quantize(256, PillowImage.Quantize.FASTOCTREE)


def _webp(frames: Sequence[PillowImage.Image], durations_ms: Sequence[int]) -> bytes:
    buffer = io.BytesIO()
    frames[0].save(
        buffer,
        "WEBP",
        save_all=True,
        append_images=list(frames[1:]),
        duration=list(durations_ms),
        loop=0,
        quality=80,
        method=4,
    )
    return buffer.getvalue()


def _mp4(frames: Sequence[PillowImage.Image], frame_ms: int) -> bytes:
    """The last frame is held by repeating it: players ignore a longer duration at the end."""
    av = import_video()
    width, height = (max(2, side // 2 * 2) for side in frames[0].size)  # colour is stored at half the size
    with TemporaryDirectory() as folder:
        path = Path(folder) / "animation.mp4"  # a file, because faststart moves its index to the front at the end
        with av.open(str(path), "w", options={"movflags": "+faststart"}) as container:
            stream = container.add_stream("libx264", rate=Fraction(1000, frame_ms), options={"crf": "18"})
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            context = stream.codec_context
            context.thread_count = 1  # pictures are small, and the processor is busy with the run
            context.color_primaries = context.color_trc = context.colorspace = BT709
            for picture in frames:
                resized = picture if picture.size == (width, height) else picture.resize((width, height))
                frame = av.VideoFrame.from_image(resized.convert("RGB"))
                container.mux(stream.encode(frame.reformat(format="yuv420p", dst_colorspace="ITU709")))
            container.mux(stream.encode())
        return path.read_bytes()


ANIMATION_PX = 384


def animation_frame(picture: PillowImage.Image) -> PillowImage.Image:
    """The picture at the size of animations: its long side is ANIMATION_PX at most."""
    height, width = size_with_long_side((picture.height, picture.width), min(ANIMATION_PX, max(picture.size)))
    return picture.resize((width, height), PillowImage.Resampling.LANCZOS)


def of_one_size(frames: Sequence[PillowImage.Image]) -> list[PillowImage.Image]:
    """The frames as large as the last one."""
    size = frames[-1].size
    return [frame if frame.size == size else frame.resize(size, PillowImage.Resampling.BICUBIC) for frame in frames]


def frame_steps(steps: int, count: int) -> set[int]:
    """The steps of 1 … `steps` whose pictures make `count` frames with the starting picture; early steps lie closer.

    The last step is always kept, and is the only one if `count` is 1; every step is kept if `count` exceeds `steps`.
    """
    last = max(1, min(count - 1, steps))
    return {min(steps, max(index, round(steps * (index / last) ** 2))) for index in range(1, last + 1)}
