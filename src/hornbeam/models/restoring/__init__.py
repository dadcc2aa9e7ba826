"""Weights that were trained elsewhere, put into a network: files read, names mapped, shapes checked."""
