"""Vectors of the labelled set, kept so that measuring the search does not embed it each time.

``python -m tests.recall_vectors`` writes them anew, after a change of the set or of the embedder.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from factory_runtime.memory.embedders.minilm import MiniLmEmbedder
from factory_runtime.memory.labelled import read_labelled

FILE = Path(__file__).parent / "golden" / "recall_vectors.npz"


class KnownEmbedder(MiniLmEmbedder):
    """Gives the kept vectors, in half precision; a text that has none is embedded."""

    @cached_property
    def _known(self) -> dict[str, NDArray[np.float16]]:
        with np.load(FILE) as kept:
            return dict(zip(kept["digests"].tolist(), kept["vectors"], strict=True))

    def embed(self, texts: Sequence[str]) -> list[tuple[float, ...]]:
        vectors = [self._known.get(digest_of(text)) for text in texts]
        missing = [text for text, kept in zip(texts, vectors, strict=True) if kept is None]
        made = iter(super().embed(missing)) if missing else iter(())
        return [next(made) if kept is None else _unit(kept) for kept in vectors]


def labelled_texts() -> list[str]:
    """Documents and questions."""
    labelled = read_labelled()
    return [one.text for one in labelled.documents] + [one.query for one in labelled.questions]


def digest_of(text: str) -> str:
    """Short: the file is kept with the tests."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _unit(vector: NDArray[np.float16]) -> tuple[float, ...]:
    whole = vector.astype(np.float32)
    return tuple((whole / np.linalg.norm(whole)).tolist())


def write() -> None:
    """Embed everything."""
    texts = list(dict.fromkeys(labelled_texts()))
    vectors = np.array(MiniLmEmbedder().embed(texts), dtype=np.float16)
    np.savez(FILE, digests=np.array([digest_of(text) for text in texts]), vectors=vectors)


if __name__ == "__main__":
    write()
