from __future__ import annotations

import logging
import sys
from importlib import import_module
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from factory_runtime.domain.errors import MemoryUnavailableError
from factory_runtime.memory.embedders import light
from factory_runtime.memory.embedders.light import (
    MAX_CHARACTERS,
    LightEmbedder,
    installed_words,
)
from factory_runtime.ports.memory import TokenCounter

TEXTS = [
    "orders and payments",
    "a repository of templates 🏭",
    "def total(lines): return sum(lines)",
]


def test_the_vectors_are_those_of_the_packages_own_code(monkeypatch: pytest.MonkeyPatch) -> None:
    # Importing it would set up the logging of this process.
    monkeypatch.setattr(logging, "basicConfig", Mock())
    package: Any = import_module("wordllama")
    theirs = package.WordLlama.load(cache_dir=installed_words(), disable_download=True)
    expected = theirs.embed(TEXTS, norm=True).tolist()
    for one, other in zip(LightEmbedder().embed(TEXTS), expected, strict=True):
        assert one == pytest.approx(other, abs=1e-6)


def test_the_packages_own_code_is_not_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "wordllama"]:
        monkeypatch.delitem(sys.modules, name)
    LightEmbedder().embed(TEXTS)
    assert "wordllama" not in sys.modules


def test_it_says_how_long_a_text_is_to_it() -> None:
    embedder = LightEmbedder()
    assert isinstance(embedder, TokenCounter)
    assert embedder.count_tokens("") == 0
    assert embedder.count_tokens("orders " * MAX_CHARACTERS) >= MAX_CHARACTERS
    assert embedder.count_tokens("\ud800") > 0


@pytest.mark.parametrize("package", ["wordllama", "tokenizers"])
def test_a_missing_extra_is_named_with_its_fix(
    monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    def find(name: str) -> ModuleSpec | None:
        return None if name == package else ModuleSpec(name, None, origin="/nowhere/__init__.py")

    monkeypatch.setattr(light, "find_spec", find)
    with pytest.raises(MemoryUnavailableError, match="not installed") as caught:
        LightEmbedder().embed(["x"])
    assert "`light`" in str(caught.value.hint)


@pytest.mark.parametrize("content", [None, b"", b"\xff" * 64])
@pytest.mark.parametrize(
    "name", ["weights/l2_supercat_256.safetensors", "tokenizers/l2_supercat_tokenizer_config.json"]
)
def test_a_damaged_model_is_named_with_its_fix(
    tmp_path: Path, name: str, content: bytes | None
) -> None:
    for folder in ("weights", "tokenizers"):
        (tmp_path / folder).mkdir()
        for file in (installed_words() / folder).iterdir():
            (tmp_path / folder / file.name).symlink_to(file)
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(MemoryUnavailableError, match=str(tmp_path)) as caught:
        LightEmbedder(lambda: tmp_path).embed(["x"])
    assert "wordllama" in str(caught.value.hint)
