"""The render box: Copier sources rendered in a limited child process.

``box`` is what the core calls; ``child`` and what it imports run in the child. This module imports
nothing, because the child comes through here and every import costs it time.
"""
