"""What a picture should be like: representations, distances, priors, and the objective that adds them up."""
