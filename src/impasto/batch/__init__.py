"""Many runs at once: in processes or on a cluster, with an index page."""
