"""Text to vectors: models on this machine, and an endpoint that is asked."""
