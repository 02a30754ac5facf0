"""A frozen network with named layers: one pass forward, one pass back, weights checked on the way in."""
