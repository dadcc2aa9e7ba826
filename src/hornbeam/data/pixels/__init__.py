"""Bytes to pixels, pixels to the network's shape, and how they are varied."""
