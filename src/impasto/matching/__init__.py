"""Where in a painting each place of a photo finds its like: places, features compared by cosine, prices and lines."""
