"""Several models on the same pictures: which is better, and what changed."""
