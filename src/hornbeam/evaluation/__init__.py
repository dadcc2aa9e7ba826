"""What the model is worth: predictions, statistics, the report."""
