"""Where the API is, on whatever host."""

API_PREFIX = "/api/v1"
"""Before each of its paths; another one is another API."""
