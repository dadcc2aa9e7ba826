"""The model leaves: artifacts that answer as it did."""
