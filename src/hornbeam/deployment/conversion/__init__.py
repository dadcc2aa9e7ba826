"""The model in other formats, always made by TensorFlow in a process of its own (DESIGN.md 15)."""
