"""The same losses and the same gradient, computed in the memory of one tile."""
