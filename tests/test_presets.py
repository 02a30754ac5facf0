"""Presets: known options of known tasks, the papers' numbers, and the user's options override them."""

import pytest
import torch

from impasto.errors import SpecError
from impasto.networks.network import Network
from impasto.tasks.painting import transfer
from impasto.tasks.presets import preset, presets
from impasto.tasks.settings import TransferSettings
from impasto.tasks.table import TASKS

ENTRIES = [(name, task) for name, entry in presets().items() for task in entry if task in TASKS]


@pytest.mark.parametrize(("name", "task"), ENTRIES)
def test_every_preset_makes_settings(name: str, task: str) -> None:
    settings = preset(task, name)
    assert isinstance(settings, TASKS[task].settings)
    assert settings != TASKS[task].settings()


def test_every_preset_says_where_it_is_from() -> None:
    for name, entry in presets().items():
        assert set(entry) - set(TASKS) == {"about", "source", "departs"}, name
        assert all(len(str(entry[key])) for key in ("about", "source", "departs"))


def test_all_promised_presets_are_there() -> None:
    promised = "fast best classic accurate gatys2015 gatys2016 johnson"
    promised += " mahendran2015 mahendran2016 report fel2023"
    assert set(presets()) == set(promised.split())


def test_the_default_is_the_tasks_own() -> None:
    assert preset("transfer", "default") == TransferSettings()


def test_what_is_asked_for_wins() -> None:
    assert preset("transfer", "fast", size=99).size == 99
    assert preset("transfer", "fast").size == 256


def test_wrong_names_are_answered() -> None:
    with pytest.raises(SpecError, match="did you mean 'johnson'"):
        preset("transfer", "jonson")
    with pytest.raises(SpecError, match="not for invert; default, fast, best, accurate"):
        preset("invert", "johnson")


def test_johnson_is_the_published_objective(normalised: Network) -> None:
    """Content 5 · MSE, style 100 · MSE of Gram / (C · H · W) in each layer, computed by hand."""
    generator = torch.Generator().manual_seed(0)
    photo, painting, image = (torch.rand(1, 3, 32, 32, generator=generator) for _ in range(3))
    settings = preset("transfer", "johnson", size=32)
    assert isinstance(settings, TransferSettings)
    losses = transfer(photo, [painting], settings).objective.bind(normalised, (32, 32)).losses(image)
    layers = ["relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"]
    found, style, content = (normalised(each, [*layers, "relu4_2"]) for each in (image, painting, photo))
    expected = 5 * (found["relu4_2"] - content["relu4_2"]).square().mean()
    assert losses["content/relu4_2"] == pytest.approx(expected.item(), rel=1e-4)
    for layer in layers:
        grams = [features[layer].flatten(2)[0] for features in (found, style)]
        grams = [rows @ rows.T / rows.numel() for rows in grams]
        expected = 100 * (grams[0] - grams[1]).square().mean()
        assert losses[f"style/{layer}"] == pytest.approx(expected.item(), rel=1e-3)
