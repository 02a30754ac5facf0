"""Write docs/presets.md from the presets themselves; `make docs` runs it, a test fails if the page is stale."""

from pathlib import Path

PAGE = Path(__file__).with_name("presets.md")
INTRODUCTION = """# Presets

Made by `make docs` from `src/impasto/data/presets.toml`.

`--preset NAME` sets some options of a task; other options on the command line override it. From Python:
`impasto.preset("transfer", "gatys2016", size=512)`. `default` stands for the tasks' own defaults, which favour looks:
`invert` has priors for natural pictures there, at the cost of feature error. `accurate` does the opposite.
"""


def page() -> str:
    """The whole page."""
    from impasto.tasks.presets import presets

    sections = [INTRODUCTION]
    for name, entry in presets().items():
        lines = [f"## {name}", "", entry["about"], ""]
        lines += [f"- Source: {entry['source']}", f"- Departs: {entry['departs']}", ""]
        for task, values in entry.items():
            if isinstance(values, dict):
                options = [f"--{key.replace('_', '-')} {value}" for key, value in values.items()]
                lines.append(f"- `{task}`: " + ", ".join(f"`{option}`" for option in options))
        sections.append("\n".join(lines) + "\n")
    return "\n".join(sections)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
