"""What each layer keeps of a picture: a plan of runs, their figures, and the page that compares them."""
