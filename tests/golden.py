"""Golden traces: the losses and pictures of every task, bit for bit, to show that a refactoring changes no result.

`make golden` compares this machine's traces with tests/golden.json. Losses agree on every machine except for rounding;
pictures agree bit for bit only between machines whose processors compute alike. `make golden WRITE=--write` replaces
the traces: only for a change that is meant to alter pictures, and whose commit says this.
"""

import argparse
import contextlib
import hashlib
import io
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from PIL import Image as PillowImage

FILE = Path(__file__).with_name("golden.json")
EXAMPLES = Path(__file__).parents[1] / "examples"
PHOTO, PANDA = str(EXAMPLES / "neuschwanstein-castle.webp"), str(EXAMPLES / "red-panda.webp")
CAFE, CHURCH = str(EXAMPLES / "cafe-terrace-at-night.webp"), str(EXAMPLES / "church-at-auvers.webp")
COMMON = {"size": "48", "steps": "3", "frames": "0", "threads": "1", "precision": "float32", "device": "cpu"}

CASES: dict[str, list[str]] = {
    "invert": ["invert", PHOTO],
    "invert, replicate, average": [
        "invert",
        PHOTO,
        "--layer",
        "relu3_1",
        "--padding",
        "replicate",
        "--pooling",
        "average",
    ],
    "invert, dithered": ["invert", PHOTO, "--layer", "conv1_1", "--dither", "2"],
    "invert, leap": ["invert", PHOTO, "--layer", "conv3_1", "--leap", "2"],
    "invert, fourier": ["invert", PHOTO, "--layer", "relu2_1", "--parameterisation", "fourier"],
    "invert, in tiles": ["invert", PHOTO, "--layer", "conv2_2", "--tile", "16"],
    "invert, accurate": ["invert", PHOTO, "--layer", "conv2_1", "--preset", "accurate"],
    "invert, Mahendran": ["invert", PANDA, "--layer", "pool3", "--preset", "mahendran2015"],
    "reconstruct": ["reconstruct", PANDA, "--layers", "conv1_2,relu4_1", "--network", "vgg16"],
    "amalgamate": ["amalgamate", PHOTO, PANDA, "--layers", "relu2_1,pool4"],
    "texture": ["texture", CAFE],
    "texture, cumulative": ["texture", CAFE, "--cumulative", "--layers", "relu1_1=1,relu2_1=2,pool3=1"],
    "texture, in tiles": ["texture", CAFE, "--tile", "16", "--layers", "relu1_1,relu2_2"],
    "transfer": ["transfer", PHOTO, CAFE],
    "transfer, Gram": ["transfer", PHOTO, CAFE, "--statistics", "gram"],
    "transfer, moments": ["transfer", PHOTO, CAFE, "--statistics", "moments", "--distance", "squared"],
    "transfer, two styles": ["transfer", PHOTO, CAFE, CHURCH, "--style-weights", "1,2", "--style-scale", "1.5"],
    "transfer, Adam": ["transfer", PHOTO, CAFE, "--optimiser", "adam", "--init", "noise", "--seed", "7"],
    "transfer, plain L-BFGS": ["transfer", PHOTO, CAFE, "--optimiser", "lbfgs-plain", "--init", "style"],
    "transfer, in tiles": ["transfer", PHOTO, CAFE, "--tile", "32", "--style-layers", "relu1_1,relu3_1"],
    "transfer, smaller first": ["transfer", PHOTO, CAFE, "--size", "96", "--smallest", "48", "--steps", "2"],
    "transfer, fast": ["transfer", PHOTO, CAFE, "--preset", "fast"],
    "transfer, classic": ["transfer", PHOTO, CAFE, "--preset", "classic"],
    "transfer, strokes along": ["transfer", PHOTO, CAFE, "--strokes", "along", "--size", "64"],
    "transfer, sliced, in tiles": ["transfer", PHOTO, CAFE, "--statistics", "sliced", "--tile", "32"],
    "texture, seamless": ["texture", CAFE, "--seamless", "--size", "64x48"],
}


def trace(words: list[str], folder: Path) -> dict[str, Any]:
    """The losses of each step and the SHA-256 of the pixels, for each part of a run."""
    from impasto.cli.app import main

    pictures = [word for word in words[1:] if word.endswith(".webp")]
    options = [word for word in words[1:] if word not in pictures]
    common = [f"--{name}={value}" for name, value in COMMON.items() if f"--{name}" not in options]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
        main([words[0], *pictures, *common, *options, "--quiet", "--out", str(folder)])
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text("utf-8").splitlines()]
    summaries = dict(_summaries(json.loads((folder / "summary.json").read_text("utf-8"))))
    return {
        "losses": [line["losses"] for line in lines],
        "measured": {name: {key: each[key] for key in ("losses", "metrics")} for name, each in summaries.items()},
        "pixels": {name or ".": _pixels(folder / name / "result.png") for name in summaries},
    }


def _summaries(summary: dict[str, Any]) -> list[tuple[str, Any]]:
    return list(summary["parts"].items()) if "parts" in summary else [("", summary)]


def _pixels(file: Path) -> str:
    with PillowImage.open(file) as picture:
        return hashlib.sha256(picture.tobytes()).hexdigest()


def machine() -> str:
    """What decides whether two machines compute alike, to the last bit."""
    known = getattr(torch.cpu, "get_capabilities", dict)()
    name = known.get("cpu_name", "unknown processor")
    kernels = torch.backends.cpu.get_cpu_capability()
    return f"{name}, {kernels}, torch {torch.__version__.partition('+')[0]}"


def main() -> None:
    """Compare with the file, or write it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="put this machine's traces in the file")
    write = parser.parse_args().write
    torch.set_num_threads(1)
    kept = json.loads(FILE.read_text("utf-8")) if FILE.exists() else {"machine": None, "traces": {}}
    for each in kept["traces"].values():
        each.pop("machine", None)
    found = {}
    with tempfile.TemporaryDirectory() as scratch:
        for number, (name, words) in enumerate(CASES.items()):
            found[name] = trace(words, Path(scratch) / str(number))
            same = found[name] == kept["traces"].get(name)
            print(f"{'same' if same else 'OTHER'}  {name}", flush=True)
    if write:
        FILE.write_text(json.dumps({"machine": machine(), "traces": found}, indent=1, sort_keys=True) + "\n", "utf-8")
    elif found != kept["traces"]:
        alike = "" if kept["machine"] == machine() else f" (they were made on {kept['machine']}; this is {machine()})"
        sys.exit(f"these traces are not those of {FILE.name}{alike}")


if __name__ == "__main__":
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    main()
