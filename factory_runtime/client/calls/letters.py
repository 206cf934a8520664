"""Dead letters, and orders to send them round again."""

from __future__ import annotations

from datetime import datetime
from typing import TypedDict, Unpack

from factory_runtime.client.call import Call, body_of, path_of, query_of
from factory_runtime.domain.dead_letter import LetterStatus
from factory_runtime.wire.hints import HintsAnswer
from factory_runtime.wire.letter import (
    BulkDiscard,
    BulkDiscarded,
    BulkRedrive,
    Discard,
    GroupAnswer,
    LetterAnswer,
    LetterDetail,
    OrderAnswer,
    Redrive,
    StopOrder,
)
from factory_runtime.wire.page import Part
from factory_runtime.wire.run import RunSummary


class LetterChoice(TypedDict, total=False):
    """Which dead letters are meant."""

    fingerprint: str | None
    type: str | None
    template: str | None
    project: str | None
    since: datetime | None
    until: datetime | None


def list_letters(
    *,
    status: list[LetterStatus] | None = None,
    run: str | None = None,
    can_go_round: bool | None = None,
    with_count: bool | None = None,
    limit: int = 50,
    cursor: str | None = None,
    **chosen: Unpack[LetterChoice],
) -> Call[Part[LetterAnswer]]:
    """Dead letters, the newest failure first; the open ones unless a status is named."""
    named = {"status": status, "run": run, "can_go_round": can_go_round}
    query = query_of(**named, with_count=with_count, limit=limit, cursor=cursor, **chosen)
    return Call("GET", "/dead-letters", Part[LetterAnswer], query)


def list_letter_groups(*, limit: int = 200) -> Call[Part[GroupAnswer]]:
    """Open dead letters by kind of failure."""
    return Call("GET", "/dead-letters/groups", Part[GroupAnswer], query_of(limit=limit))


def get_letter(letter_id: str) -> Call[LetterDetail]:
    """A dead letter."""
    return Call("GET", path_of("dead-letters", letter_id), LetterDetail)


def get_hints(letter_id: str) -> Call[HintsAnswer]:
    """What is known of failures like a letter's."""
    return Call("GET", path_of("dead-letters", letter_id, "hints"), HintsAnswer)


def redrive_letter(letter_id: str, change: Redrive | None = None) -> Call[RunSummary]:
    """Send the job of a letter round again."""
    path = path_of("dead-letters", letter_id, "retry")
    return Call("POST", path, RunSummary, body=body_of(change), is_repeatable=False)


def discard_letter(letter_id: str, asked: Discard) -> Call[LetterAnswer]:
    """Close a letter for a reason."""
    path = path_of("dead-letters", letter_id, "discard")
    return Call("POST", path, LetterAnswer, body=body_of(asked))


def redrive_letters(asked: BulkRedrive, **chosen: Unpack[LetterChoice]) -> Call[OrderAnswer]:
    """Order that all go round again that are chosen."""
    path, query = "/dead-letters/actions/retry", query_of(**chosen)
    return Call("POST", path, OrderAnswer, query, body_of(asked), is_repeatable=False)


def discard_letters(asked: BulkDiscard, **chosen: Unpack[LetterChoice]) -> Call[BulkDiscarded]:
    """Close all that are chosen."""
    path, query = "/dead-letters/actions/discard", query_of(**chosen)
    return Call("POST", path, BulkDiscarded, query, body_of(asked), is_repeatable=False)


def list_orders(*, limit: int = 50, cursor: str | None = None) -> Call[Part[OrderAnswer]]:
    """Orders to send letters round again, the newest first."""
    query = query_of(limit=limit, cursor=cursor)
    return Call("GET", "/redrive-orders", Part[OrderAnswer], query)


def get_order(order_id: str) -> Call[OrderAnswer]:
    """An order, and how far it is."""
    return Call("GET", path_of("redrive-orders", order_id), OrderAnswer)


def stop_order(order_id: str, reason: str) -> Call[OrderAnswer]:
    """Send no more of its letters round."""
    path, asked = path_of("redrive-orders", order_id, "stop"), StopOrder(reason=reason)
    return Call("POST", path, OrderAnswer, body=body_of(asked))
