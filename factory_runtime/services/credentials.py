"""Credentials of jobs: what a step names, and who may use it."""

from __future__ import annotations

from factory_runtime.domain.errors import InputError
from factory_runtime.domain.policy import BLOCK, names_block
from factory_runtime.domain.template import JobTypeFacts
from factory_runtime.ports import CredentialBook, Credentials

CREDENTIALS = "credentials"
"""The key of ``with``."""

EVERYBODY = "*"


def find_credentials(
    book: CredentialBook, facts: JobTypeFacts, told: object, tenant_id: str
) -> Credentials:
    """What a step names, if its tenant may use it.

    Raises:
        HostBusyError: nobody who keeps it answers.
        InputError: its type takes none, it names none, or none that this tenant may use.
    """
    if facts.credentials is None:
        raise InputError(f"the job type {facts.name} takes no credentials")
    if not isinstance(told, str) or not names_block(told):
        raise InputError("the step names no credentials", hint=f"credentials: {BLOCK}NAME")
    return lend(book, facts.credentials, told, tenant_id)


def lend(book: CredentialBook, kind: str, block: str, tenant_id: str) -> Credentials:
    """What a block of this type holds, if the tenant may use it; ``block`` is ``block:NAME``.

    Raises:
        HostBusyError: nobody who keeps it answers.
        InputError: there is none, or not for this tenant.
    """
    name = block.removeprefix(BLOCK)
    found = book.credentials_of(kind, name)
    if found.tenants.isdisjoint({tenant_id, EVERYBODY}):
        raise InputError(
            f"{kind} {name} is not for the tenant {tenant_id}",
            hint="who keeps the block says whose runs may use it: `tenants`",
        )
    return found
