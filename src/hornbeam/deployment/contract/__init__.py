"""Whether an artifact, in its own runtime, answers as the trained model did."""
