"""A training as several processes: which of them this one is, and how they agree."""
