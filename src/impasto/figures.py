"""Pictures about results: contact sheets with captions, loss curves, animations."""

import io
from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import ceil
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

from impasto.extras import import_video
from impasto.images import write_bytes

PAPER, INK, MUTED = "#ffffff", "#1b1b1b", "#6b6b6b"
BT709 = 1  # H.264's number for the colours of HD video and of sRGB screens


def contact_sheet(
    pictures: Sequence[tuple[str, PillowImage.Image]], *, columns: int, height_px: int = 320, title: str = ""
) -> PillowImage.Image:
    """Pictures of one height in rows of `columns`, each with its caption (lines after the first are muted) below.

    Pictures more than three times as wide as high are made less high.
    """
    gap, line = 16, 20
    lines = max(caption.count("\n") for caption, _ in pictures) + 1
    font, large = ImageFont.load_default(15), ImageFont.load_default(22)
    scaled = [(caption, _within(picture.convert("RGB"), 3 * height_px, height_px)) for caption, picture in pictures]
    height_px = max(picture.height for _, picture in scaled)
    words_px = max(font.getlength(words) for caption, _ in scaled for words in caption.split("\n"))
    width = max([picture.width for _, picture in scaled] + [ceil(words_px)])
    rows = -(-len(scaled) // columns)
    top = 52 if title else gap
    cell = height_px + lines * line + gap
    sheet = PillowImage.new("RGB", (min(columns, len(scaled)) * (width + gap) + gap, top + rows * cell + gap), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((gap, 14), title, INK, large)
    for index, (caption, picture) in enumerate(scaled):
        left, upper = gap + index % columns * (width + gap), top + index // columns * cell
        sheet.paste(picture, (left, upper))
        for number, words in enumerate(caption.split("\n")):
            draw.text((left, upper + height_px + 4 + number * line), words, MUTED if number else INK, font)
    return sheet


def _within(picture: PillowImage.Image, width: int, height: int) -> PillowImage.Image:
    factor = min(width / picture.width, height / picture.height)
    return picture.resize((max(1, round(picture.width * factor)), max(1, round(picture.height * factor))))


def save_curves(curves: Mapping[str, Sequence[float]], path: Path, *, title: str = "") -> None:
    """Losses over steps as a PNG with a logarithmic axis, one line for each name."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # late: half a second
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for name, values in curves.items():
        steps = [step for step, value in enumerate(values, start=1) if value > 0]
        width = 2.4 if name == "total" else 1.3
        axes.plot(steps, [value for value in values if value > 0], label=name, linewidth=width)
    axes.set(yscale="log", xlabel="step", ylabel="weighted loss", title=title)
    axes.grid(visible=True, which="both", alpha=0.2)
    if any(value > 0 for values in curves.values() for value in values):
        axes.legend(frameon=False, fontsize="small")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    write_bytes(path, buffer.getvalue())


def save_animation(frames: Sequence[PillowImage.Image], path: Path, *, frame_ms: int = 90, hold_ms: int = 1500) -> None:
    """Frames of one size as an animation that holds the last one: GIF, WebP or MP4, by the path's ending.

    GIF and WebP run for ever; frames that look alike may become one that takes their time. MP4 is H.264 in yuv420p,
    with sizes rounded down to even ones; it needs the extra `video` (SpecError where it is not there).
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
    """One palette in the file's head serves all frames: no flicker, and none is written twice."""
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
    """256 colours of all frames together; those of the last count most, it is shown longest."""
    sampled = [*frames, *[frames[-1]] * (len(frames) // 2)]
    side = max(8, min(128, int((2**20 / len(sampled)) ** 0.5)))  # a million pixels, however many the frames
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
        path = Path(folder) / "animation.mp4"  # a file: its index is moved to the front at the end
        with av.open(str(path), "w", options={"movflags": "+faststart"}) as container:
            stream = container.add_stream("libx264", rate=Fraction(1000, frame_ms), options={"crf": "18"})
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            context = stream.codec_context
            context.thread_count = 1  # small pictures; the processor is for the run
            context.color_primaries = context.color_trc = context.colorspace = BT709
            for picture in frames:
                resized = picture if picture.size == (width, height) else picture.resize((width, height))
                frame = av.VideoFrame.from_image(resized.convert("RGB"))
                container.mux(stream.encode(frame.reformat(format="yuv420p", dst_colorspace="ITU709")))
            container.mux(stream.encode())
        return path.read_bytes()
