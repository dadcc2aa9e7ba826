"""Weights change here, and only here."""
