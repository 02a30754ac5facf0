"""The loop from a first picture to one that the objective likes, and what the loop is made of."""
