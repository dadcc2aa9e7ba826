"""Who looks on while a model trains."""
