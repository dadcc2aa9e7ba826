"""Scores of the answers, each with its interval."""
