"""A BERT encoder's forward pass in numpy, over weights mapped from a safetensors file.

Imports numpy, so import it only where something is embedded.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
_TYPES = {"F16": "<f2", "F32": "<f4", "I64": "<i8"}
_LOG2_E = math.log2(math.e)
_COLUMNS = 8
"""OpenBLAS takes a third longer for 14 columns than for 16: there are always a multiple of these."""
_TILE = 1 << 16
"""How many numbers are worked on in one go, so that they stay in the processor's cache."""


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


class _Affine(NamedTuple):
    """A weight and a bias; the bias is a column, since tokens stand in columns."""

    weight: Floats
    bias: Floats


class _Layer(NamedTuple):
    heads_in: _Affine
    heads_out: _Affine
    heads_norm: _Affine
    widen: _Affine
    narrow: _Affine
    norm: _Affine


class Bert:
    """An encoder of ``layers`` layers with ``heads`` attention heads.

    Tokens stand in columns, those of all texts beside each other: ``weight @ tokens`` is what
    OpenBLAS is quickest at, above all for the few tokens of a query, and no text is padded.
    """

    def __init__(self, weights: Mapping[str, Floats], layers: int, heads: int) -> None:
        self._weights = weights
        self._heads = heads
        self._norm = _norm_of(weights, "embeddings.LayerNorm")
        self._layers = [_layer_of(weights, f"encoder.layer.{n}", heads) for n in range(layers)]

    def sentence_vectors(self, token_ids: Sequence[Sequence[int]]) -> Floats:
        """Unit vectors, one row a text: the mean of its tokens' states."""
        spans = list(pairwise(accumulate(map(len, token_ids), initial=0)))
        states = self._embed(token_ids)
        for layer in self._layers:
            states = self._pass(layer, states, spans)
        means = np.stack([states[:, begin:end].mean(1) for begin, end in spans])
        return means / np.linalg.norm(means, axis=1, keepdims=True)

    def _embed(self, token_ids: Sequence[Sequence[int]]) -> Floats:
        tokens = np.concatenate([np.asarray(ids, dtype=np.int64) for ids in token_ids])
        places = np.concatenate([np.arange(len(ids)) for ids in token_ids])
        rows = self._weights["embeddings.word_embeddings.weight"][tokens]
        rows += self._weights["embeddings.position_embeddings.weight"][places]
        rows += self._weights["embeddings.token_type_embeddings.weight"][0]
        columns = np.zeros((rows.shape[1], -(-len(rows) // _COLUMNS) * _COLUMNS), dtype=np.float32)
        columns[:, : len(rows)] = rows.T
        return _normalise(columns, self._norm)

    def _pass(self, layer: _Layer, states: Floats, spans: list[tuple[int, int]]) -> Floats:
        mixed = _dense(self._attend(_dense(states, layer.heads_in), spans), layer.heads_out)
        mixed += states
        states = _normalise(mixed, layer.heads_norm)
        wide = _dense(states, layer.widen)
        _gelu(wide)
        out = _dense(wide, layer.narrow)
        out += states
        return _normalise(out, layer.norm)

    def _attend(self, projected: Floats, spans: list[tuple[int, int]]) -> Floats:
        tokens = projected.shape[1]
        query, key, value = projected.reshape(3, self._heads, -1, tokens)
        mixed = np.zeros_like(value)
        for begin, end in spans:
            scores = key[:, :, begin:end].transpose(0, 2, 1) @ query[:, :, begin:end]
            scores -= scores.max(1, keepdims=True)
            np.exp2(scores, out=scores)
            seen = value[:, :, begin:end] @ scores
            seen /= scores.sum(1, keepdims=True)
            mixed[:, :, begin:end] = seen
        return mixed.reshape(-1, tokens)


def _layer_of(weights: Mapping[str, Floats], name: str, heads: int) -> _Layer:
    def affine(part: str) -> _Affine:
        return _Affine(weights[f"{name}.{part}.weight"], weights[f"{name}.{part}.bias"][:, None])

    query, key, value = (affine(f"attention.self.{part}") for part in ("query", "key", "value"))
    # What scores are multiplied by, and that they are taken to the power of 2 instead of e.
    scale = np.float32(_LOG2_E * (len(query.bias) // heads) ** -0.5)
    return _Layer(
        # One product instead of three.
        heads_in=_Affine(
            np.concatenate([query.weight * scale, key.weight, value.weight]),
            np.concatenate([query.bias * scale, key.bias, value.bias]),
        ),
        heads_out=affine("attention.output.dense"),
        heads_norm=_norm_of(weights, f"{name}.attention.output.LayerNorm"),
        widen=affine("intermediate.dense"),
        narrow=affine("output.dense"),
        norm=_norm_of(weights, f"{name}.output.LayerNorm"),
    )


def _norm_of(weights: Mapping[str, Floats], name: str) -> _Affine:
    return _Affine(weights[f"{name}.weight"][:, None], weights[f"{name}.bias"][:, None])


def _dense(tokens: Floats, part: _Affine) -> Floats:
    out = part.weight @ tokens
    out += part.bias
    return out


def _normalise(tokens: Floats, part: _Affine) -> Floats:
    tokens = tokens - tokens.mean(0)
    variance = np.einsum("ij,ij->j", tokens, tokens) / np.float32(len(tokens))
    tokens /= np.sqrt(variance + np.float32(1e-12))
    tokens *= part.weight
    tokens += part.bias
    return tokens


def _gelu(x: Floats) -> None:
    """Exact GELU in place, by parts that stay in the processor's cache."""
    flat = x.reshape(-1)
    size, power, tail = (np.empty(min(_TILE, flat.size), dtype=np.float32) for _ in range(3))
    for begin in range(0, flat.size, _TILE):
        part = flat[begin : begin + _TILE]
        _gelu_part(part, size[: part.size], power[: part.size], tail[: part.size])


def _gelu_part(x: Floats, size: Floats, power: Floats, tail: Floats) -> None:
    """``x`` times the share of a normal distribution below it, written over ``x``.

    That is ``max(x, 0) - |x| * tail``, where the tail is the share beyond ``|x|``; by Abramowitz and
    Stegun 7.1.26, off by less than 1e-7.
    """
    np.abs(x, out=size)
    np.multiply(size, np.float32(0.3275911 * 0.5**0.5), out=tail)
    tail += np.float32(1)
    np.divide(np.float32(1), tail, out=tail)
    np.multiply(tail, np.float32(1.061405429 / 2), out=power)
    for term in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        power += np.float32(term / 2)
        power *= tail
    np.square(size, out=tail)
    tail *= np.float32(-_LOG2_E / 2)
    np.exp2(tail, out=tail)
    tail *= power
    tail *= size
    np.maximum(x, np.float32(0), out=x)
    x -= tail
