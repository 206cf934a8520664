"""Take secrets out of whatever this process logs, for as long as somebody holds them."""

from __future__ import annotations

import logging
import threading
from typing import Any
from weakref import ref

from factory_runtime.domain.redaction import REDACTED
from factory_runtime.domain.secrets import Secrets

_lending = threading.Lock()
_lent: tuple[ref[Secrets], ...] = ()
"""Never changed, but replaced: who logs meanwhile goes through the one that it has."""

_installed = False
_formatter = logging.Formatter()


def hide_in_logs(secrets: Secrets) -> None:
    """Have no logger of this process say them, until nobody holds them any more."""
    global _lent, _installed
    with _lending:
        others = (one for one in _lent if one() not in (None, secrets))
        _lent = (*others, ref(secrets))
        if not _installed:
            _install()
            _installed = True


def _install() -> None:
    # Not the record factory: what a logger is told as `extra` comes after that one.
    make_record = logging.Logger.makeRecord

    def make_harmless(self: logging.Logger, *args: Any, **kwargs: Any) -> logging.LogRecord:
        record = make_record(self, *args, **kwargs)
        for one in _lent:
            secrets = one()
            if secrets:
                _hide(secrets, record)
        return record

    logging.Logger.makeRecord = make_harmless


def _hide(secrets: Secrets, record: logging.LogRecord) -> None:
    said = _said_by(record)
    record.template = str(record.msg)  # ours; what it was filled with is to be told nowhere else
    trace = record.exc_text
    if record.exc_info and not trace:
        trace = _formatter.formatException(record.exc_info)
    record.msg, record.args = secrets.hide_in(said), ()
    # Handlers take the text of an error from here; from the error itself they would make their own.
    record.exc_text, record.exc_info = trace and secrets.hide_in(trace), None
    for name, value in list(vars(record).items()):
        setattr(record, name, _hidden(secrets, value))


def _said_by(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # as logging does: a wrong format is no error of who logs
        return f"a message that its arguments do not fit: {type(record.msg).__name__}"


def _hidden(secrets: Secrets, value: Any) -> Any:
    """The value itself, where it says nothing of them."""
    try:
        if not _says(secrets, value):
            return value
        harmless = secrets.hide(value)
        return REDACTED if _says(secrets, harmless) else harmless
    except Exception:  # nobody knows what it would say to others
        return REDACTED


def _says(secrets: Secrets, value: Any) -> bool:
    return any(secrets.hide_in(told) != told for told in (str(value), repr(value)))
