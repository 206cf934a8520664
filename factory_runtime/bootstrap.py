"""Opens the adapters and returns one Runtime."""
