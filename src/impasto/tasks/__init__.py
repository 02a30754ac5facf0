"""What users ask for: settings, presets, and a recipe for each task."""
