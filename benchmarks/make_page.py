"""Write docs/benchmarks.md from benchmarks/results/*.json: the last step of `make bench`."""

import json
from typing import Any

from common import RESULTS, ROOT

PAGE = ROOT / "docs" / "benchmarks.md"
INTRODUCTION = """# Benchmarks

Made by `make bench` from the measurements of the programs in `benchmarks/`. Times drift on shared machines: programs
are compared in turns within one run, and only ratios count. The reference is `benchmarks/reference.py`, the usual
implementation: the standard Gram objective with PyTorch's L-BFGS and strong Wolfe line search, in float32.
"""
TITLES = {
    "same_loss": (
        "Seconds to the reference's loss",
        "On exactly the reference's objective. The loss is the reference's own function, in float32, of the saved "
        "picture: clipped, 8 bits. The target is the lowest such loss that the reference reaches within the "
        "evaluations of the row.",
    ),
    "step_cost": (
        "Cost of an evaluation",
        "Whole steps of the preset `classic` (losses, gradients, L-BFGS) divided by their evaluations, against "
        "the bare network in the same precision, forward and backward.",
    ),
    "memory": ("Memory", "Peak of the whole process."),
    "batch": (
        "Batches",
        "The whole command, from its start to its page, with pictures, pages and animations of every run; the nodes of "
        "the cluster are processes of the same machine. A run of one step shows the cost of a run besides its steps.",
    ),
    "busy": (
        "A busy machine",
        "The whole command on a quiet machine and beside as many busy programs as there are cores, in turns, with the "
        "limit on how long PyTorch's threads spin while they wait (bounded), and with the runtimes' own values "
        "(unbounded). Requirements: quiet, bounded at most 1.03 of unbounded; bounded, busy at most 2.3 times quiet.",
    ),
    "tiles_cost": (
        "Cost of tiles",
        "Evaluations of the objective of the preset `classic`, in tiles against the whole picture. Tiles cost a "
        "second forward pass and their margins.",
    ),
    "tiles_memory": (
        "Memory of tiles",
        "Peak of the whole process over three evaluations of the preset `classic` at one size: `whole` is "
        "without a limit, other rows with that `--memory`; `history` is the number of steps that L-BFGS remembers.",
    ),
    "cluster_tiles": (
        "One picture on a cluster",
        "Evaluations of the objective of the preset `classic` in the same tiles, on workers of one core each and in "
        "one process on one core, in turns. MB are those of one evaluation: crops and slopes are sent, "
        "gradients and sums of statistics returned.",
    ),
    "inversion": (
        "Inversion",
        "Means over eight photographs squashed to 224 × 224, 350 evaluations from noise, on the normalised network; e "
        "is the feature error of the saved 8-bit picture, before and after the layer's ReLU.",
    ),
    "style_panel": (
        "Style: six pairs before three judges",
        "Lower is better for all. `style`: sliced Wasserstein distance at held-out layers. Patches of 3 × 3 features "
        "at held-out layers: `coherent` from result to painting (what is painted exists in the painting), `complete` "
        "from painting to result (the painting is used). `layout`: difference of the self-similarity from the "
        "photo's at held-out layers. The photograph and the painting cut to fit are yardsticks. Where flat skies meet "
        "flat paint, `coherent` puts the photograph before what is painted (kingfisher and painter), `complete` does "
        "not: it decides. NNST descends the cosines of all layers up to relu4_3, so for NNST the judges of patches are "
        "not held out. `default, 25 steps` is the default of decision 55, `default, sizes doubled` that of decision "
        "56, `default, 12 steps` that of decision 57. Processor seconds of one thread on several busy machines, one "
        "of which is twice as fast as the others: in bfloat16 of a processor that has it, in float32 of one with AVX2 "
        "only, so they compare roughly; plain Gram is always in float32. The picture shows "
        "256 px.\n\n"
        "![Six pairs](images/style-panel.webp)",
    ),
    "style_quality": (
        "Style quality",
        "Style: sliced Wasserstein distance to the style picture at relu1_2, relu2_2, relu3_2, relu4_2 and relu4_3, "
        "whose statistics no recipe optimises, relative to the spread of the style's own features. Content: feature "
        "error at relu4_2, which all recipes read. Lower is better for both; the factor multiplies each recipe's "
        "own style weight. `impasto` is the preset `classic`. "
        "Wasserstein-2 is style-transfer-pytorch's recipe rebuilt on VGG-16 (departures: "
        "`benchmarks/style_quality.py`). Seconds are of runs side by side on the two cores, one thread each, "
        "so they are only a rough guide.\n\n![Style against content](style-quality.png)",
    ),
}


def plot(rows: list[dict[str, Any]]) -> None:
    """docs/style-quality.png: a line for each recipe over its weights, a point for each trivial baseline."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    sizes = sorted({row["size_px"] for row in rows})
    figure, axes = pyplot.subplots(1, len(sizes), figsize=(6 * len(sizes), 4.2), squeeze=False, layout="constrained")
    for size_px, axis in zip(sizes, axes[0], strict=True):
        here = [row for row in rows if row["size_px"] == size_px]
        for recipe in dict.fromkeys(row["recipe"] for row in here):
            points = sorted((row["content"], row["style"]) for row in here if row["recipe"] == recipe)
            axis.plot(*zip(*points, strict=True), "o-" if len(points) > 1 else "s", label=recipe, markersize=5)
        axis.set(xlabel="content error", ylabel="distance of the style", title=f"{size_px} px", ylim=(0, None))
        axis.grid(alpha=0.3)
    axes[0][0].legend(frameon=False, fontsize=8)
    figure.savefig(PAGE.with_name("style-quality.png"), dpi=110)


def table(rows: list[dict[str, Any]]) -> str:
    keys = list(rows[0])
    lines = [" | ".join(key.replace("_", " ") for key in keys), " | ".join("---" for _ in keys)]
    lines += [" | ".join("–" if row.get(key) is None else str(row[key]) for key in keys) for row in rows]
    return "\n".join(f"| {line} |" for line in lines)


def main() -> None:
    sections = [INTRODUCTION]
    for name, (title, words) in TITLES.items():
        path = RESULTS / f"{name}.json"
        if not path.exists():
            continue
        content = json.loads(path.read_text("utf-8"))
        if name == "style_quality":
            plot(content["rows"])
        machine = content["machine"]
        where = (
            f"{machine['processor']}, {machine['threads']} threads, native bfloat16: {machine['bfloat16']}, "
            f"PyTorch {machine['torch']}, Python {machine['python']}, {machine['date']}."
        )
        extra = [f"{key}: {value}" for key, value in content.items() if key not in ("about", "machine", "rows")]
        sections.append("\n\n".join([f"## {title}", words, *extra, table(content["rows"]), where]) + "\n")
    PAGE.write_text("\n".join(sections), encoding="utf-8")


if __name__ == "__main__":
    main()
