"""The labels that are probably wrong: found, shown, and mended in a new manifest."""
