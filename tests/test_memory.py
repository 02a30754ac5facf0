"""What cannot fit is refused with a size that fits, and the estimate is near what is really used."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from impasto.cli.app import main
from impasto.networks.network import Network
from impasto.tiles import budget as memory

PHOTO = "examples/schwerin-palace.webp"


def test_a_size_that_cannot_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["reconstruct", PHOTO, "--size", "60000", "-o", str(tmp_path / "out")])
    assert ended.value.code == 3
    assert re.search(
        r"needs about \d+\.\d GB of memory .*, and \d+\.\d GB are left; --size \d+ would fit\n$",
        capsys.readouterr().err,
    )
    assert not (tmp_path / "out").exists()


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


def test_less_memory_than_the_program_has(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["invert", PHOTO, "--memory", "10MB", "-o", str(tmp_path / "out")])
    assert ended.value.code == 3
    assert re.search(r"needs about \d+ MB .* and 0 MB are left; hardly any size would fit\n$", capsys.readouterr().err)


def test_deeper_layers_and_wider_numbers_take_more(normalised: Network, plain: Network) -> None:
    assert normalised.bytes_per_pixel(["relu1_1"]) < normalised.bytes_per_pixel(["relu5_1", "relu1_1"])
    assert normalised.bytes_per_pixel(["image"]) < normalised.bytes_per_pixel(["relu1_1"])
    assert normalised.bytes_per_pixel(["conv4_1"]) == plain.bytes_per_pixel(["conv4_1"])


@pytest.mark.parametrize(
    "term",
    ["content(image, ['conv4_1'])", "content(image, ['conv1_1'])", "style(image, ['relu1_1', 'relu3_1', 'relu5_1'])"],
)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_estimate_is_near_the_truth(term: str, precision: str) -> None:
    """Growth of the process' peak from 512² to 896² pixels, against the estimate, within a third."""
    program = f"""
import sys, torch
from impasto import content, open_network, style
from impasto.representations import activations
torch.set_num_threads(1)
network = open_network(precision={precision!r}, device="cpu")
image = torch.rand(1, 3, int(sys.argv[1]), int(sys.argv[1]))
objective = {term}
(match,) = objective.terms
criterion = objective.bind(network, (int(sys.argv[1]),) * 2)
for _ in range(2):
    criterion.losses_and_gradient(image)
estimate = network.bytes_per_pixel(match.layers, match.layers if match.represent is activations else ())
(line,) = [line for line in open("/proc/self/status") if line.startswith("VmHWM")]  # ru_maxrss is also the parent's
print(int(line.split()[1]) * 1024, estimate)
"""
    peaks = []
    for side in (512, 896):
        command = [sys.executable, "-c", program, str(side)]
        peak, estimate = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        peaks.append(float(peak))
    assert (peaks[1] - peaks[0]) / (896**2 - 512**2) == pytest.approx(float(estimate), rel=1 / 3)
