"""Trainings with many values of their options, compared: each is a `hornbeam train` of its own."""
