"""The studio's pages as one Gradio application."""

from collections.abc import Mapping, Sequence

import gradio as gr

from impasto.studio.desk import Desk
from impasto.studio.gallery import runs_page
from impasto.studio.painting import paint_page
from impasto.studio.programs import programs

HOUR = 3600


def pages(desk: Desk, groups: Mapping[str, Sequence[str]]) -> gr.Blocks:
    """All pages; `groups` are the headings of the settings."""
    blocks = gr.Blocks(title="impasto studio", analytics_enabled=False, delete_cache=(HOUR, 24 * HOUR), fill_width=True)
    with blocks:
        gr.HTML("<header><h1>impasto</h1><p>Paint a picture, and watch.</p></header>", elem_id="head")
        with gr.Tabs() as tabs:
            with gr.Tab("Paint", id="paint"):
                paint = paint_page(desk, groups)
            with gr.Tab("Runs", id="runs") as runs:
                runs_page(desk, paint, tabs, runs)
        programs(desk)
    return blocks
