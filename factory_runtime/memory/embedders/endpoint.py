"""Text to vectors by an endpoint that speaks as OpenAI's does: theirs, Azure's, or one's own."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from factory_runtime.domain.errors import MemoryUnavailableError, PermanentError
from factory_runtime.memory.embedders.texts import readable
from factory_runtime.memory.endpoints.calling import BodyRefusedError, Caller

MAX_CHARACTERS = 24_000
"""Of a text: most of what such models read, which is 8,192 tokens. The rest is not sent."""
BATCH_CHARACTERS = 200_000
"""Of one request: no more than 300,000 tokens are taken, and few characters are several."""
ANSWER_BYTES = 256 << 20
"""The most texts of one request, with the longest vectors that are usual, have half of it."""
SHORT = 1000
"""Characters that every model reads: who refuses so short a text does not refuse its length."""


class _Item(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True)

    index: int
    embedding: list[Annotated[float, Field(allow_inf_nan=False)]]


class _Answer(BaseModel):
    data: list[_Item]


class EndpointEmbedder:
    """One model of an endpoint. Safe to use from many threads; the texts leave the machine.

    Attributes:
        model: with the length of its vectors, as the same model has several.
    """

    # Of what is sent for a text: raise it when the same text gives another vector.
    version = "1"

    def __init__(
        self,
        caller: Caller,
        model: str,
        dimensions: int,
        *,
        named: str | None,
        says_length: bool,
        batch: int = 256,
    ) -> None:
        """Ask nothing yet.

        Args:
            caller: what asks.
            model: what its vectors are kept under, without their length.
            dimensions: how long they are, or are to be.
            named: the model, in a request; None where the address names it.
            says_length: whether a request asks for the length, for models that can shorten theirs.
            batch: the most texts of one request.
        """
        # A slash parts a model from its version.
        self.model = f"{model.replace('/', '--')}@{dimensions}"
        self.dimensions = dimensions
        self._caller = caller
        self._named: dict[str, Any] = {} if named is None else {"model": named}
        self._says_length = says_length
        self._length_was_taken = False
        self._batch = batch

    def embed(self, texts: Sequence[str]) -> list[tuple[float, ...]]:
        """One unit vector a text, in their order.

        Raises:
            MemoryUnavailableError: the endpoint does not answer, or not with embeddings.
            PermanentError: it refuses one of the texts.
        """
        return [
            vector
            for batch in _batches((_sendable(text) for text in texts), self._batch)
            for vector in self._embed_or_halve(batch)
        ]

    def _embed_or_halve(self, texts: list[str]) -> list[tuple[float, ...]]:
        """Halve what is too much: how much that is, no endpoint tells beforehand."""
        try:
            return self._embed_batch(texts)
        except BodyRefusedError as exc:
            refused = exc
        if len(texts) > 1:
            middle = len(texts) // 2
            return self._embed_or_halve(texts[:middle]) + self._embed_or_halve(texts[middle:])
        (text,) = texts
        if len(text) > SHORT:
            return self._embed_or_halve([text[: len(text) // 2]])
        raise PermanentError(f"a text cannot be embedded: {refused}") from refused

    def _embed_batch(self, texts: list[str]) -> list[tuple[float, ...]]:
        body = {"input": texts, **self._named}
        if not self._says_length:
            return self._read(self._caller.post(body), len(texts))
        try:
            answer = self._caller.post({**body, "dimensions": self.dimensions})
        except BodyRefusedError:
            if self._length_was_taken:
                raise
            # A model that cannot shorten its vectors refuses to be told how long they are to be.
            vectors = self._read(self._caller.post(body), len(texts))
            self._says_length = False
            return vectors
        self._length_was_taken = True
        return self._read(answer, len(texts))

    def _read(self, answer: bytes, count: int) -> list[tuple[float, ...]]:
        try:
            items = _Answer.model_validate_json(answer).data
        except ValidationError as exc:
            raise MemoryUnavailableError(
                f"the endpoint of {self.model} answers with something else than embeddings",
                hint="look at FACTORY_EMBEDDING_URL",
            ) from exc
        by_index = sorted(items, key=lambda item: item.index)
        if [item.index for item in by_index] != list(range(count)):
            raise MemoryUnavailableError(
                f"the endpoint of {self.model} answers {count} texts with {len(items)} vectors,"
                " or numbers them otherwise"
            )
        return [self._unit(item.embedding) for item in by_index]

    def _unit(self, vector: list[float]) -> tuple[float, ...]:
        if len(vector) != self.dimensions:
            raise MemoryUnavailableError(
                f"the endpoint's vectors have {len(vector)} dimensions instead of"
                f" {self.dimensions}",
                hint="say how many in FACTORY_EMBEDDING_DIMENSIONS",
            )
        length = math.hypot(*vector)
        if length == 0 or math.isinf(length):
            raise MemoryUnavailableError(
                f"the endpoint of {self.model} answers without a direction"
            )
        return tuple(number / length for number in vector)


def _sendable(text: str) -> str:
    """An endpoint refuses an empty text, and some a blank one of any length but this."""
    sent = readable(text, MAX_CHARACTERS)
    return sent if sent.strip() else " "


def _batches(texts: Iterable[str], count: int) -> Iterator[list[str]]:
    batch: list[str] = []
    size = 0
    for text in texts:
        if batch and (len(batch) == count or size + len(text) > BATCH_CHARACTERS):
            yield batch
            batch, size = [], 0
        batch.append(text)
        size += len(text)
    if batch:
        yield batch
