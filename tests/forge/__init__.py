"""A fake Azure DevOps: its REST API and its Git over HTTP, on a real socket.

It speaks the subset of REST 7.1 that ours asks for. Every request and answer is held against the
published shape (``shapes.py`` says where it is published), and what the forge lacks is answered by
501 and fails the test. Git is git's own, over the repositories that the API makes.
"""

from tests.forge.control import ForgeElsewhere, forge_elsewhere
from tests.forge.faults import Cut
from tests.forge.forge import ORGANIZATION, Forge, running_forge

__all__ = ["ORGANIZATION", "Cut", "Forge", "ForgeElsewhere", "forge_elsewhere", "running_forge"]
