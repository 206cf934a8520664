"""Files cut into pieces along the borders that their language has."""
