"""A git host of the user's, for the sandbox: its block goes from one Prefect server to another."""

from __future__ import annotations

from prefect.settings import PREFECT_API_URL, temporary_settings

from blocks.git_host import GitHostCredentials
from deployments.prove.sandbox import LentBlock


def keep_block(lent: LentBlock, api_url: str) -> None:
    """Have the server at this address keep the block."""
    with temporary_settings({PREFECT_API_URL: api_url}):
        GitHostCredentials(**lent.fields).save(lent.name, overwrite=True)
