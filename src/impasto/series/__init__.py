"""Several runs in one folder: finished runs are not repeated."""
