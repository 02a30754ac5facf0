"""The optimisation loop from a first picture to the result, and its components."""
