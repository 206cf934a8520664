"""The words of a text, as a word search compares them."""

from __future__ import annotations

import pytest

from factory_runtime.memory.words import words_of


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("createInvoice", ["create", "invoice", "createinvoice"]),
        ("create_invoice", ["create", "invoice", "createinvoice"]),
        ("HTTPServer", ["http", "server", "httpserver"]),
        ("INV-2001", ["inv", "2001", "inv2001"]),
        ("inv2001", ["inv", "2001", "inv2001"]),
        ("src/ledger.py", ["src", "ledger", "py", "ledgerpy"]),
        ("Größe für Straßen", ["größe", "für", "straßen"]),
        ("naïve ﬁle", ["naïve", "file"]),
        ("漢字 と", ["漢字", "と"]),
        ("🏭 -- ?! _", []),
        ("", []),
    ],
)
def test_identifiers_stand_whole_and_in_parts(text: str, words: list[str]) -> None:
    assert words_of(text) == words
