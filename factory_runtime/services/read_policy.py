"""A policy out of its text: a file's, or the table's."""

from __future__ import annotations

from functools import lru_cache

from factory_runtime.compiler.policy_file import load_policy
from factory_runtime.domain.errors import InvalidPolicyError, PolicyUnavailableError
from factory_runtime.domain.policy import Policy, PolicyRecord
from factory_runtime.services.policy_folder import PolicyText

TABLE = "table"
"""``Policy.source`` of one that was applied."""


def policy_of_text(text: PolicyText | None) -> Policy | None:
    """The policy in a file.

    Raises:
        PolicyUnavailableError: it has mistakes.
    """
    if text is None:
        return None
    return _parsed(text.body, str(text.path), f"file {text.path.name}")


def policy_of_record(record: PolicyRecord | None) -> Policy | None:
    """The policy in the table; None where there is none, or none any more.

    Raises:
        PolicyUnavailableError: it has mistakes: an older release wrote it, or a hand.
    """
    if record is None or not record.document:
        return None
    file = f"policy {record.version} of {record.tenant_id} in the table"
    return _parsed(record.document.encode(), file, TABLE)


@lru_cache(maxsize=512)
def _parsed(body: bytes, file: str, source: str) -> Policy:
    try:
        return load_policy(body, file, source)
    except InvalidPolicyError as exc:
        first, *others = exc.problems
        more = f", and {len(others)} more" if others else ""
        raise PolicyUnavailableError(
            f"the policy cannot be read: {first}{more}",
            hint="nothing is accepted until somebody mends it; `factory policy check` shows it all",
        ) from exc
