"""Models that others keep, asked over HTTP: where they are, and how they are asked."""
