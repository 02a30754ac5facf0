"""Pages: one HTML file from the folders of runs, which opens without a network."""
