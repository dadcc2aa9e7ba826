"""Ways to start a worker on a host: one file each."""
