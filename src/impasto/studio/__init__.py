"""A web page on this machine, on which one watches a picture being painted, and takes the brush."""
