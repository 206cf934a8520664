"""The page on the API: every route stands there, with the right that it takes."""

from __future__ import annotations

from tests.api.api_page import FILE, roles_table, written
from tests.api.openapi_file import document


def test_the_page_has_every_route_with_its_right_and_an_example():
    # It is written anew by `python -m tests.api.api_page`.
    page = FILE.read_text()
    assert page == written(page, document())
    assert roles_table() in page
