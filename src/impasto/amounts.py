"""Amounts of memory in words."""

import re


def parse_memory(text: str) -> float | None:
    """The bytes that "4GB", "500 MB" or "1.5GiB" means; None for "auto". Raises ValueError with one sentence."""
    if text == "auto":
        return None
    units = {"MB": 1e6, "GB": 1e9, "TB": 1e12, "MiB": 2.0**20, "GiB": 2.0**30, "TiB": 2.0**40}
    known = {unit.lower(): size for unit, size in units.items()}
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([a-z]+)", text.strip().lower())
    if found is None or found[2] not in known or not float(found[1]):
        raise ValueError(f"memory is {text!r}; write 4GB, 500MB or auto for instance")
    return float(found[1]) * known[found[2]]
