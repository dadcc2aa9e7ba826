"""The model in other formats, made by TensorFlow in a process of its own (docs/decisions/0014)."""
