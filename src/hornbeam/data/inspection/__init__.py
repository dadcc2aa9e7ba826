"""One look at every picture, and what it tells."""
