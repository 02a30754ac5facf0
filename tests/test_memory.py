"""Sizes that do not fit are refused with a size that does, and the estimate is close to the memory used."""

import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import torch

from conftest import EXAMPLES
from impasto.cli.app import main
from impasto.machine import forget_peak, free_memory, peak_memory_mb, unfolds
from impasto.networks.network import Network
from impasto.tiles import budget as memory
from impasto.tiles.budget import limits

PHOTO = str(EXAMPLES / "schwerin-palace.webp")


def test_a_size_that_cannot_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["reconstruct", PHOTO, "--size", "60000", "-o", str(tmp_path / "out")])
    assert ended.value.code == 3
    assert re.search(
        r"needs about \d+\.\d GB of memory .*, and \d+\.\d GB are left; --size \d+ would fit\n$",
        capsys.readouterr().err,
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_size_it_names_fits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "free_memory", lambda device: 20e6)
    words = ["invert", PHOTO, "--steps", "1", "--frames", "0", "--quiet", "-o", str(tmp_path / "out")]
    with pytest.raises(SystemExit) as ended:
        main([*words, "--size", "500"])
    assert ended.value.code == 3
    named = re.search(r"--size (\d+) would fit", capsys.readouterr().err)
    assert named
    with pytest.raises(SystemExit) as ended:
        main([*words, "--size", named[1]])
    assert ended.value.code == 0


@pytest.mark.slow
def test_less_memory_than_the_program_has(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["invert", PHOTO, "--memory", "10MB", "-o", str(tmp_path / "out")])
    assert ended.value.code == 3
    assert re.search(r"needs about \d+ MB .* and 0 MB are left; no useful size fits; .*\n$", capsys.readouterr().err)


def test_deeper_layers_and_wider_numbers_take_more(normalised: Network, plain: Network) -> None:
    assert normalised.bytes_per_pixel(["relu1_1"]) < normalised.bytes_per_pixel(["relu5_1", "relu1_1"])
    assert normalised.bytes_per_pixel(["image"]) < normalised.bytes_per_pixel(["relu1_1"])
    assert normalised.bytes_per_pixel(["conv4_1"]) == plain.bytes_per_pixel(["conv4_1"])


TERMS = (
    "content(image, ['conv3_1'])",
    "content(image, ['conv1_1'])",
    "style(image, ['relu1_1', 'relu3_1'])",
    "style(image, ['relu1_1', 'relu3_1', 'relu5_1'])",
)
SIDES = {"float32": ("128", "256"), "bfloat16": ("64", "112"), "float64": ("64", "128")}  # bfloat16 without oneDNN
PEAKS = """
import gc, sys, torch
from pathlib import Path
from impasto import content, open_network, style
from impasto.objectives.representations import Pointwise
torch.set_num_threads(1)
precision, sides, terms = sys.argv[1], [int(side) for side in sys.argv[2:4]], sys.argv[4:]
network = open_network(precision=precision, device="cpu")
for term in terms:
    peaks = []
    for side in sides:
        image = torch.rand(1, 3, side, side)
        objective = eval(term)
        (match,) = objective.terms
        criterion = objective.bind(network, (side, side))
        if (term, side) == (terms[0], sides[0]):
            criterion.losses_and_gradient(image)  # what PyTorch takes once
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        criterion.losses_and_gradient(image)
        (line,) = [line for line in open("/proc/self/status") if line.startswith("VmHWM")]
        peaks.append(int(line.split()[1]) * 1024)
        del image, objective, match, criterion
        gc.collect()
    image = torch.rand(1, 3, 64, 64)
    objective = eval(term)
    (match,) = objective.terms
    estimate = network.bytes_per_pixel(match.layers, objective.layers(Pointwise))
    print((peaks[1] - peaks[0]) / (sides[1] ** 2 - sides[0] ** 2), estimate)
"""


@cache
def truths_and_estimates(precision: str, terms: tuple[str, ...], sides: tuple[str, str]) -> dict[str, list[float]]:
    """Of each term, bytes per pixel, measured in a process of its own for the precision.

    Each tensor is given back to the system at once: what the C library's heap would lose between them is another sum
    (GAPS), and without its noise small pictures do; smaller ones yet where oneDNN does not help.
    """
    at_once = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
    command = [sys.executable, "-c", PEAKS, precision, *sides, *terms]
    ended = subprocess.run(command, check=True, capture_output=True, text=True, env=at_once)
    pairs = [[float(number) for number in line.split()] for line in ended.stdout.splitlines()]
    return dict(zip(terms, pairs, strict=True))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("term", TERMS)
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float64"])
def test_the_estimate_is_near_the_truth(term: str, precision: str) -> None:
    """Growth of the process' peak with the picture, against the estimate, within a third."""
    unfolded = unfolds(getattr(torch, precision), torch.device("cpu"))
    sides = SIDES[precision] if unfolded or precision == "float32" else ("192", "384")
    terms = TERMS[:-1] if unfolded else TERMS
    if term not in terms:
        pytest.skip("so small a picture takes less than the statistics of relu5_1")
    truth, estimate = truths_and_estimates(precision, terms, sides)[term]
    assert truth == pytest.approx(estimate, rel=1 / 3)


class _Card:
    """A graphics card of 8 GB as PyTorch speaks of it: 5 GB are free, and 0.5 of the 1 GB that PyTorch has."""

    def __init__(self) -> None:
        self.peak = 3e9

    def mem_get_info(self, device: torch.device) -> tuple[int, int]:
        return int(5e9), int(8e9)

    def memory_reserved(self, device: torch.device) -> int:
        return int(1e9)

    def memory_allocated(self, device: torch.device) -> int:
        return int(0.5e9)

    def max_memory_allocated(self, device: torch.device) -> int:
        return int(self.peak)

    def reset_peak_memory_stats(self, device: torch.device) -> None:
        self.peak = self.memory_allocated(device)


def test_a_card_has_no_gaps_of_the_c_library_s_heap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "cuda", _Card())
    card = torch.device("cuda")
    assert free_memory(card) == 5.5e9
    assert limits(None, None, card).memory == 0.9 * 5.5e9
    assert limits(2e9, None, card).memory == 0.92 * 2e9 - 0.5e9
    assert limits(100e9, None, card).memory == 5.5e9


def test_a_run_s_peak_on_a_card_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "cuda", _Card())
    card = torch.device("cuda")
    assert peak_memory_mb(card) == 3000
    forget_peak(card)
    assert peak_memory_mb(card) == 500
    before = peak_memory_mb(torch.device("cpu"))
    forget_peak(torch.device("cpu"))
    assert peak_memory_mb(torch.device("cpu")) >= before
