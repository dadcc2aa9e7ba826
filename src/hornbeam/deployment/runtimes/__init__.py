"""Artifacts, opened: whatever the format, pixels in and probabilities out.

Each module is one runtime and is imported only where an artifact needs it.
"""
