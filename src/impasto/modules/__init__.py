"""Any PyTorch module, read from outside: its preprocessing, its layers, and the maps of one call, found by hooks."""
