"""The tasks: settings, presets, and a recipe for each task."""
