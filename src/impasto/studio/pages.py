"""The studio's pages as one Gradio application, and how they look: paper, ink and one accent, in light and dark."""

from collections.abc import Mapping, Sequence

import gradio as gr

from impasto.desk.desk import Desk
from impasto.files import bundled
from impasto.studio.exploring import explore_page
from impasto.studio.gallery import runs_page
from impasto.studio.painting import paint_page
from impasto.studio.programs import programs
from impasto.studio.regions import regions_page
from impasto.studio.understanding import understand_page

HOUR = 3600
CSS = bundled("studio/studio.css").read_text("utf-8")
DANGER = "#b3261e"  # of what cannot be undone
ACCENT = gr.themes.Color(
    c50="#fbf3ee",
    c100="#f5e2d7",
    c200="#eac5b0",
    c300="#dda384",
    c400="#c97a52",
    c500="#ad5a31",
    c600="#9a4a24",
    c700="#7d3b1c",
    c800="#622f18",
    c900="#4b2514",
    c950="#2d150a",
)
# Gradio gives some buttons a label that differs from the words inside: readers of screens then say other words than
# are seen. Without the label, the words are read. Lists of choices get the name that they lack. A message's head is no
# button, since the button that closes the message lies inside. The second click of a double click is no other order.
# Arrow keys go from tab to tab. If another layer's picture comes, the layer that was shown is shown again.
HEAD = """<script>
const layersShown = {};
const misnamed = [".upload-container", ".thumbnail-item", ".layer-title-button", ".empty"];
const without = (selector, name) =>
  document.querySelectorAll(`${selector}[${name}]`).forEach(each => each.removeAttribute(name));
new MutationObserver(() => {
  misnamed.forEach(each => without(each, "aria-label"));
  ["role", "tabindex"].forEach(each => without(".toast-header", each));
  const lists = "[role=listbox]:not([aria-label])";
  document.querySelectorAll(lists).forEach(each => each.setAttribute("aria-label", "Choices"));
  document.querySelectorAll(".layers:not([data-drawn])").forEach(each => {
    each.dataset.drawn = "";
    const slider = each.querySelector("input");
    slider.value = layersShown[each.dataset.of] ?? 0;
    slider.oninput();
  });
}).observe(document, {childList: true, subtree: true});
document.addEventListener("click", event => {
  if (event.detail > 1 && event.target.closest("button.lg, button.thumbnail-item")) event.stopPropagation();
}, true);
document.addEventListener("keydown", event => {
  const way = {ArrowRight: 1, ArrowLeft: -1}[event.key], here = event.target.closest("[role=tab]");
  if (!way || !here) return;
  const tabs = [...here.closest("[role=tablist]").querySelectorAll("[role=tab]")];
  const next = tabs[(tabs.indexOf(here) + way + tabs.length) % tabs.length];
  next.focus();
  next.click();
});
</script>"""


def pages(desk: Desk, groups: Mapping[str, Sequence[str]]) -> gr.Blocks:
    """All pages; `groups` are the headings of the settings."""
    blocks = gr.Blocks(title="impasto studio", analytics_enabled=False, delete_cache=(HOUR, 24 * HOUR), fill_width=True)
    with blocks:
        programs(desk)  # first, so that no function of a page takes the name of one of these
        gr.HTML("<header><h1>impasto</h1><p>Paint a picture, and watch.</p></header>", elem_id="head")
        with gr.Tabs() as tabs:
            with gr.Tab("Paint", id="paint"):
                paint = paint_page(desk, groups)
            with gr.Tab("Explore", id="explore") as explore:
                sheet = explore_page(desk, paint, tabs, explore)
            with gr.Tab("Regions", id="regions") as regions:
                regions_page(desk, paint, tabs, regions)
            with gr.Tab("Understand", id="understand") as understand:
                understand_page(desk, paint, understand)
            with gr.Tab("Runs", id="runs") as runs:
                runs_page(desk, paint, sheet, tabs, runs)
    return blocks


def theme() -> gr.themes.Base:
    """Gradio's plain theme with the system's own fonts: nothing is fetched."""
    return gr.themes.Base(
        primary_hue=ACCENT,
        neutral_hue=gr.themes.colors.stone,
        font=["system-ui", "-apple-system", "Segoe UI", "Roboto", "Arial", "sans-serif"],
        font_mono=["ui-monospace", "Menlo", "Consolas", "monospace"],
        radius_size=gr.themes.sizes.radius_sm,
    ).set(
        body_background_fill="#fbfaf7",
        body_background_fill_dark="#171614",
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_400",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_400",
        block_label_text_color="*neutral_700",
        block_label_text_color_dark="*neutral_200",
        block_title_text_color="*neutral_800",
        block_title_text_color_dark="*neutral_100",
        button_cancel_background_fill=DANGER,
        button_cancel_background_fill_hover=DANGER,
        button_cancel_background_fill_dark=DANGER,
        button_cancel_background_fill_hover_dark=DANGER,
        button_cancel_text_color="white",
        button_cancel_text_color_dark="white",
        link_text_color="*primary_700",
        link_text_color_dark="*primary_300",
    )
