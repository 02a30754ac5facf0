"""Several runs in one folder: what is done is not done again."""
