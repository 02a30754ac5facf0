"""Any module as a graph of operations: which channels of its maps must share a scale, and its weights rescaled."""
