"""Integers in place of floats: several ways are tried, and the one that keeps the answers is kept."""
