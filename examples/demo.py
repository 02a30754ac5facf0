"""The main job on the example pictures: a style transfer, an inversion, an amalgamation, and a page that shows them."""

import sys
import time
from html import escape
from pathlib import Path

from PIL import Image

from impasto import AmalgamateSettings, InvertSettings, RunSpec, TransferSettings, run
from impasto.images.sheets import contact_sheet

EXAMPLES = Path(__file__).parent
PALACE, CHURCH = EXAMPLES / "schwerin-palace.webp", EXAMPLES / "church-at-auvers.webp"
PANDA, CAFE = EXAMPLES / "red-panda.webp", EXAMPLES / "cafe-terrace-at-night.webp"
RUNS = [
    (
        RunSpec(task="transfer", pictures=(PALACE, CHURCH), settings=TransferSettings(frames=24)),
        "The palace in the manner of Van Gogh's church: each part is painted as the part of the church most like it.",
    ),
    (
        RunSpec(task="invert", pictures=(PANDA,), settings=InvertSettings(size=320, steps=200, frames=24)),
        "What conv4_1 still knows of the panda: found from white noise, with natural-image priors.",
    ),
    (
        RunSpec(
            task="amalgamate",
            pictures=(PALACE, CAFE),
            settings=AmalgamateSettings(size=224, layers="conv3_1,conv4_1,conv5_1", frames=24),
        ),
        "The palace imprinted on the café terrace: what is left of the painting is what the layer does not see.",
    ),
]
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>impasto: demo</title><style>body{{font:16px/1.5 system-ui,sans-serif;max-width:1000px;margin:2rem auto;
padding:0 1rem;color:#1b1b1b;background:#fff}}img{{max-width:100%;height:auto;border-radius:4px}}
.row{{display:flex;flex-wrap:wrap;gap:12px}}.row figure{{flex:1 1 260px}}figure{{margin:0}}
figcaption,p.small{{color:#5b5b5b;font-size:.9rem}}code{{background:#f2f0ec;padding:.1em .3em}}
@media(prefers-color-scheme:dark){{body{{background:#181614;color:#eee}}figcaption,p.small{{color:#aaa}}
code{{background:#2c2926}}}}</style><h1>impasto</h1>{sections}
<p class="small">Pictures: see <code>examples/CREDITS.md</code>. Network: VGG-16, Visual Geometry Group, University of
Oxford, CC BY 4.0.</p></html>"""


def figure(source: str, caption: str) -> str:
    return f'<figure><img src="{source}" alt="{escape(caption)}"><figcaption>{escape(caption)}</figcaption></figure>'


def main(out: Path) -> None:
    sections, tiles = [], []
    begin = time.monotonic()
    for spec, words in RUNS:
        folder = run(spec, out / spec.task, force=True)
        parts = sorted(folder.glob("conv*")) or [folder]
        tiles += [(path.stem, Image.open(path)) for path in spec.pictures if path.stem not in dict(tiles)]
        tiles += [
            (f"{spec.task} {part.name if part != folder else ''}".strip(), Image.open(part / "result.png"))
            for part in parts
        ]
        shown = [figure(f"{part.relative_to(out)}/progress.gif", f"{part.name}: on the way") for part in parts]
        shown.append(figure(f"{folder.name}/losses.png", "losses"))
        sections.append(
            f"<h2>{spec.task}</h2><p>{escape(words)}</p>"
            + figure(f"{folder.name}/result.png", f"{spec.task}: the result")
            + f'<div class="row">{"".join(shown)}</div>'
        )
    sheet = contact_sheet(
        tiles, columns=3, height_px=260, title="impasto: a photo painted, a layer inverted, two pictures in one"
    )
    sheet.save(out / "contact-sheet.png")
    (out / "index.html").write_text(PAGE.format(sections="".join(sections)), encoding="utf-8")
    print(f"\nDone in {time.monotonic() - begin:.0f} s. Look at")
    for path in (out / "index.html", out / "contact-sheet.png"):
        print(f"  {path.resolve()}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo"))
