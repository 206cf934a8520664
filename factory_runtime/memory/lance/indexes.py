"""The indexes of a table: one of words from the beginning, one of vectors once it is large."""

from __future__ import annotations

from typing import Any

WORDS_INDEX = "words_idx"
VECTOR_INDEX = "vector_idx"

MANY_NEW_ROWS = 200
"""Words are looked for in so many rows without an index, beside it, before it is made anew."""


def index_words(table: Any) -> None:
    """Make it, or make it anew. What is put in after it is found too, only slower."""
    from lancedb.index import FTS

    # The words are prepared: nothing but spaces divides them. What all texts have weighs nothing.
    words = FTS(base_tokenizer="whitespace", remove_stop_words=False, with_position=False)
    table.create_index("words", config=words, replace=True, name=WORDS_INDEX)


def freshen_words(table: Any) -> None:
    """Make the index of words anew where it lags far behind.

    That is each time the table has grown by a quarter: all of it costs but a few times the last.
    """
    if _lags(table.index_stats(WORDS_INDEX)):
        index_words(table)


def index_vectors(table: Any, from_rows: int) -> None:
    """Make it where there is none and the table has so many rows."""
    from lancedb.index import HnswSq

    if table.index_stats(VECTOR_INDEX) is None and table.count_rows() >= from_rows:
        # One graph: dividing it pays only where it outgrows the memory.
        graph = HnswSq(distance_type="cosine", num_partitions=1)
        table.create_index("vector", config=graph, replace=True, name=VECTOR_INDEX)


def rows_without_vector_index(table: Any) -> int:
    """How many rows came after it; none where there is no such index."""
    stats = table.index_stats(VECTOR_INDEX)
    return 0 if stats is None else int(stats.num_unindexed_rows)


def _lags(index: Any) -> bool:
    return index is None or index.num_unindexed_rows > max(
        MANY_NEW_ROWS, index.num_indexed_rows // 4
    )
