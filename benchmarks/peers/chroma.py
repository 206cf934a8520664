"""Chroma on the rows of ``memory_search``: one collection, filtered by tenant; in its own process.

``python -m benchmarks.peers.chroma FOLDER ROWS``; the last line is the answer, as JSON.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from importlib import import_module
from typing import Any

from benchmarks.memory_rows import BEST, Floats, Rows, ask, words_of

AT_ONCE = 5_000


def main() -> None:
    """Put the rows in and ask."""
    folder, shape = sys.argv[1:]
    chromadb: Any = import_module("chromadb")
    client = chromadb.PersistentClient(
        folder, settings=chromadb.Settings(anonymized_telemetry=False)
    )
    rows = Rows(**json.loads(shape))
    collection = client.create_collection("rows", metadata={"hnsw:space": "cosine"})
    for begin in range(0, rows.tenants * rows.each, AT_ONCE):
        numbers = range(begin, min(begin + AT_ONCE, rows.tenants * rows.each))
        collection.add(
            ids=[str(number) for number in numbers],
            embeddings=rows.vectors[begin : begin + AT_ONCE],
            metadatas=[{"tenant": number // rows.each} for number in numbers],
            documents=[words_of(number % rows.each) for number in numbers],
        )

    def search(tenant: int, vector: Floats, text: str) -> set[int]:
        del text
        found = collection.query(
            query_embeddings=[vector.tolist()], n_results=BEST, where={"tenant": tenant}
        )
        return {int(id_) % rows.each for id_ in found["ids"][0]}

    answers = ask(f"Chroma {chromadb.__version__}, one collection, filter by tenant", rows, search)
    print(json.dumps(asdict(answers)))


if __name__ == "__main__":
    main()
