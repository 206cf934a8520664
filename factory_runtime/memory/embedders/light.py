"""Text to vectors, offline and at next to no cost: the mean of word vectors from an installed wheel.

The wheel's own code is left alone: importing it sets up the logging of the whole process, and all
that it does is to look up and to add.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from factory_runtime.domain.errors import MemoryUnavailableError
from factory_runtime.memory.embedders.loaded import loaded_once
from factory_runtime.memory.embedders.texts import readable

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from factory_runtime.memory.embedders.bert import Floats

MAX_CHARACTERS = 16_384
"""The rest of a text is not looked at."""


@dataclass(frozen=True, slots=True)
class _Model:
    tokenizer: Tokenizer
    words: Floats


def installed_words() -> Path:
    """The folder of the installed package with the word vectors.

    Raises:
        MemoryUnavailableError: the extra ``light`` is not installed.
    """
    package = find_spec("wordllama")
    if package is None or package.origin is None or find_spec("tokenizers") is None:
        raise MemoryUnavailableError(
            "the light embedding model is not installed",
            hint="install the extra `light`: pip install 'factory-runtime[light]'",
        )
    return Path(package.origin).parent


class LightEmbedder:
    """WordLlama: 256 dimensions, the order of words does not count.

    The model is loaded with the first text. Safe to use from many threads.
    """

    model = "wordllama-l2-supercat-256"
    # Of the way we compute: raise it when the same text gives another vector.
    version = "1"
    dimensions = 256

    def __init__(self, find_words: Callable[[], Path] = installed_words) -> None:
        self._model = loaded_once(lambda: _load(find_words()))

    def embed(self, texts: Sequence[str]) -> list[tuple[float, ...]]:
        """One unit vector a text, in their order.

        Raises:
            MemoryUnavailableError: the model is not installed, or damaged.
        """
        model = self._model()
        return [_vector(model, text) for text in texts]

    def count_tokens(self, text: str) -> int:
        """All of them, also those behind the first ``MAX_CHARACTERS``.

        Raises:
            MemoryUnavailableError: as ``embed``.
        """
        given = readable(text, len(text))
        return len(self._model().tokenizer.encode(given, add_special_tokens=False).ids)


def _vector(model: _Model, text: str) -> tuple[float, ...]:
    import numpy as np

    # An empty text has no token, and a vector of unit length needs one.
    given = readable(text, MAX_CHARACTERS) or " "
    tokens = model.tokenizer.encode(given, add_special_tokens=False).ids
    total = model.words[tokens].sum(0, dtype=np.float32)
    return tuple((total / np.linalg.norm(total)).tolist())


def _load(folder: Path) -> _Model:
    from tokenizers import Tokenizer

    from factory_runtime.memory.embedders.bert import map_weights

    try:
        tokens = folder / "tokenizers" / "l2_supercat_tokenizer_config.json"
        tokenizer = Tokenizer.from_file(str(tokens))
        words = map_weights(folder / "weights" / "l2_supercat_256.safetensors")["embedding.weight"]
        model = _Model(tokenizer, words)
        # Tried once here, so that files that do not belong together are named as such.
        if len(_vector(model, "")) != LightEmbedder.dimensions:
            raise ValueError("its vectors are of another length")
    # The tokenizer's own loader raises plain Exception.
    except Exception as exc:
        raise MemoryUnavailableError(
            f"the light embedding model in {folder} cannot be read: {exc}",
            hint="install the package `wordllama` again",
        ) from exc
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return model
