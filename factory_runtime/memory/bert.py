"""A BERT encoder's forward pass in numpy, over weights mapped from a safetensors file.

Imports numpy, so import it only where something is embedded.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
_TYPES = {"F32": "<f4", "I64": "<i8"}
_HIDDEN_FROM_ATTENTION = np.float32(-1e9)


def map_weights(path: Path) -> dict[str, Floats]:
    """The tensors of a safetensors file, mapped: processes share the pages they touch.

    Raises:
        ValueError: it is not such a file, or cut short.
    """
    with path.open("rb") as file:
        header_size = int.from_bytes(file.read(8), "little")
        if header_size > path.stat().st_size:
            raise ValueError(f"{path} is not a safetensors file")
        header = json.loads(file.read(header_size))
    header.pop("__metadata__", None)
    data = np.memmap(path, mode="r", dtype=np.uint8, offset=8 + header_size)
    weights: dict[str, Floats] = {}
    for name, tensor in header.items():
        begin, end = tensor["data_offsets"]
        # A plain array over the map: memmap's own slicing costs more than the small products.
        flat = np.asarray(data[begin:end]).view(_TYPES[tensor["dtype"]])
        weights[name] = flat.reshape(tensor["shape"])
    return weights


@dataclass(frozen=True, slots=True)
class Bert:
    """An encoder of ``layers`` layers with ``heads`` attention heads."""

    weights: Mapping[str, Floats]
    layers: int
    heads: int

    def sentence_vectors(self, token_ids: Sequence[Sequence[int]]) -> Floats:
        """Unit vectors, one row a text: the mean of its tokens' states.

        Shorter texts are padded to the longest of the batch, and the padding is left out of
        attention and mean.
        """
        ids, mask = _pad(token_ids)
        states = self._encode(ids, mask)
        means = np.einsum("bsd,bs->bd", states, mask) / mask.sum(1, keepdims=True)
        return (means / np.linalg.norm(means, axis=1, keepdims=True)).astype(np.float32)

    def _encode(self, ids: NDArray[np.int64], mask: Floats) -> Floats:
        batch, length = ids.shape
        states = self.weights["embeddings.word_embeddings.weight"][ids]
        states += self.weights["embeddings.position_embeddings.weight"][:length]
        states += self.weights["embeddings.token_type_embeddings.weight"][0]
        rows = self._normalise(states.reshape(batch * length, -1), "embeddings.LayerNorm")
        padding = ((1 - mask) * _HIDDEN_FROM_ATTENTION)[:, None, None, :]
        for number in range(self.layers):
            rows = self._layer(rows, padding, f"encoder.layer.{number}")
        return rows.reshape(batch, length, -1)

    def _layer(self, rows: Floats, padding: Floats, name: str) -> Floats:
        mixed = self._dense(self._attend(rows, padding, name), f"{name}.attention.output.dense")
        mixed += rows
        rows = self._normalise(mixed, f"{name}.attention.output.LayerNorm")
        wide = _gelu(self._dense(rows, f"{name}.intermediate.dense"))
        out = self._dense(wide, f"{name}.output.dense")
        out += rows
        return self._normalise(out, f"{name}.output.LayerNorm")

    def _attend(self, rows: Floats, padding: Floats, name: str) -> Floats:
        batch, length = padding.shape[0], padding.shape[-1]

        def heads(part: str) -> Floats:
            projected = self._dense(rows, f"{name}.attention.self.{part}")
            return projected.reshape(batch, length, self.heads, -1).transpose(0, 2, 1, 3)

        query, key, value = heads("query"), heads("key"), heads("value")
        scores = query @ key.transpose(0, 1, 3, 2)
        scores *= np.float32(query.shape[-1] ** -0.5)
        scores += padding
        scores -= scores.max(-1, keepdims=True)
        np.exp(scores, out=scores)
        scores /= scores.sum(-1, keepdims=True)
        return (scores @ value).transpose(0, 2, 1, 3).reshape(batch * length, -1)

    def _dense(self, rows: Floats, name: str) -> Floats:
        out = rows @ self.weights[f"{name}.weight"].T
        out += self.weights[f"{name}.bias"]
        return out

    def _normalise(self, rows: Floats, name: str) -> Floats:
        rows = rows - rows.mean(-1, keepdims=True)
        variance = np.einsum("ij,ij->i", rows, rows)[:, None] / np.float32(rows.shape[-1])
        rows /= np.sqrt(variance + np.float32(1e-12))
        rows *= self.weights[f"{name}.weight"]
        rows += self.weights[f"{name}.bias"]
        return rows


def _pad(token_ids: Sequence[Sequence[int]]) -> tuple[NDArray[np.int64], Floats]:
    length = max(len(row) for row in token_ids)
    ids = np.zeros((len(token_ids), length), dtype=np.int64)
    mask = np.zeros((len(token_ids), length), dtype=np.float32)
    for number, row in enumerate(token_ids):
        ids[number, : len(row)] = row
        mask[number, : len(row)] = 1
    return ids, mask


def _gelu(x: Floats) -> Floats:
    """Exact GELU; erf by Abramowitz and Stegun 7.1.26, off by less than 2e-7."""
    z = np.abs(x)
    z *= np.float32(0.5**0.5)
    t = 1 / (1 + np.float32(0.3275911) * z)
    tail = np.float32(1.061405429) * t
    for term in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        tail += np.float32(term)
        tail *= t
    np.multiply(z, z, out=z)
    np.negative(z, out=z)
    np.exp(z, out=z)
    tail *= z
    erf = np.copysign(1 - tail, x)
    erf += 1
    erf *= x
    erf *= np.float32(0.5)
    return erf
