"""Addresses that stand in the open: a form shows them, and nothing hides them."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, HttpUrl


def _without_secret(url: HttpUrl) -> HttpUrl:
    if url.username or url.password:
        raise ValueError("a name or a password in it would stand in the open; use their own fields")
    return url


OpenUrl = Annotated[HttpUrl, AfterValidator(_without_secret)]
"""A web address without a name or a password in it."""
