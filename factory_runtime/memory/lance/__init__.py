"""The memory index on LanceDB: a database per tenant, a table per embedding model.

LanceDB takes more than a second to import, so it is imported with the first call.
"""

from factory_runtime.memory.lance.index import LanceMemoryIndex
from factory_runtime.memory.lance.place import Place

__all__ = ["LanceMemoryIndex", "Place"]
