"""The render box: Copier sources rendered in a limited child process.

``box`` is what the core calls. ``fork_server`` loads Copier once and forks; ``child`` and what it
imports run in the children. This module imports nothing, because the server comes through here.
"""
