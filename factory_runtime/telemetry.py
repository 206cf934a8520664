"""Trace ids and structured logs."""
