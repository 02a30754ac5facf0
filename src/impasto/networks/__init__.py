"""A frozen network with named layers: one pass forward, one pass back, weights checked when they are read."""
