"""What cannot fit is refused with a size that fits, and the estimate is near what is really used."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from impasto import runs
from impasto.cli import main
from impasto.networks import Network

PHOTO = "examples/schwerin-palace.webp"


def test_a_size_that_cannot_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["reconstruct", PHOTO, "--size", "60000", "-o", str(tmp_path / "out")])
    assert ended.value.code == 3
    assert re.search(r"needs about \d+\.\d GB of memory, .* --size \d+ would fit\n$", capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


def test_the_size_it_names_fits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "free_memory", lambda device: 20e6)
    words = ["invert", PHOTO, "--steps", "1", "--frames", "0", "--quiet", "-o", str(tmp_path / "out")]
    with pytest.raises(SystemExit) as ended:
        main([*words, "--size", "500"])
    assert ended.value.code == 3
    named = re.search(r"--size (\d+) would fit", capsys.readouterr().err)
    assert named
    with pytest.raises(SystemExit) as ended:
        main([*words, "--size", named[1]])
    assert ended.value.code == 0


def test_deeper_layers_and_wider_numbers_take_more(normalised: Network, plain: Network) -> None:
    assert normalised.bytes_per_pixel(["relu1_1"]) < normalised.bytes_per_pixel(["relu5_1", "relu1_1"])
    assert normalised.bytes_per_pixel(["image"]) < normalised.bytes_per_pixel(["relu1_1"])
    assert normalised.bytes_per_pixel(["conv4_1"]) == plain.bytes_per_pixel(["conv4_1"])


def test_the_estimate_is_near_the_truth() -> None:
    """Growth of the process' peak from 512² to 896² pixels, against the estimate, within a third."""
    program = """
import re, sys, torch
from pathlib import Path
from impasto import content, open_network
torch.set_num_threads(1)
network = open_network(precision="float32", device="cpu")
image = torch.rand(1, 3, int(sys.argv[1]), int(sys.argv[1]))
objective = content(image, ["conv4_1"]).bind(network, (int(sys.argv[1]),) * 2)
objective.losses_and_gradient(image)
peak = re.search("VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]  # getrusage's has the parent's in it
print(int(peak) * 1024, network.bytes_per_pixel(["conv4_1"]))
"""
    peaks = []
    for side in (512, 896):
        command = [sys.executable, "-c", program, str(side)]
        peak, estimate = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        peaks.append(float(peak))
    assert (peaks[1] - peaks[0]) / (896**2 - 512**2) == pytest.approx(float(estimate), rel=1 / 3)
