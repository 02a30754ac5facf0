"""The provenance of a result: versions, weights, pictures and settings, as run.toml keeps them."""

import math
import platform
import tomllib
from datetime import UTC, datetime
from typing import Any

import tomli_w
import torch

from impasto.extras import own_version
from impasto.folders.named import as_provenance, hash_files
from impasto.folders.specfiles import spec_toml
from impasto.networks.network import Network
from impasto.tasks.parts import choice_of
from impasto.tasks.spec import RunSpec


def provenance(spec: RunSpec, network: Network) -> dict[str, Any]:
    """Versions, machine, and the hashes of the files that a run reads."""
    settings, own = spec.settings, choice_of(spec.settings).hashes(network)
    read = {settings.weights: own["weights_sha256"]} if settings.weights and network.computation.module is None else {}
    known = {
        "impasto": own_version(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "device": str(network.device),
        "precision": str(network.precision).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        **own,
        **as_provenance(spec, hash_files([spec], read)),
    }
    if network.computation.module is not None:
        known["preprocess"] = network.preprocess.as_data()
        known["layers"] = {layer: network.canonical(layer) for layer in settings.named_layers}
    return known


def as_toml(spec: RunSpec, network: Network, memory_bytes: float, share: float = 1.0) -> str:
    """Everything needed to repeat a run: the spec, its provenance, and the memory that it may take."""
    return spec_toml(spec, {"provenance": {**provenance(spec, network), **_memory(memory_bytes, share)}})


def with_memory(toml: str, memory_bytes: float, share: float) -> str:
    """The same text with less memory, for a run that is resumed with a smaller share of the memory it had at first."""
    known = tomllib.loads(toml)
    return tomli_w.dumps({**known, "provenance": {**known["provenance"], **_memory(memory_bytes, share)}})


def _memory(memory_bytes: float, share: float) -> dict[str, Any]:
    bounded = {} if math.isinf(memory_bytes) else {"memory_bytes": int(memory_bytes)}
    return {**bounded, **({"memory_share": share} if share < 1 else {})}
