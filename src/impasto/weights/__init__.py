"""Files of weights of every family: read without running code, recognised, converted to one convention, and fetched."""
