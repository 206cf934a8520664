"""Secrets that the factory itself must be able to read again: sealed before they reach a row."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from factory_runtime.domain.errors import PermanentError, SettingsError

_HINT = (
    "make one with `python -c 'from cryptography.fernet import *; print(Fernet.generate_key())'`"
)


class SecretBox:
    """Seals with the first key, opens with any (Fernet, https://github.com/fernet/spec)."""

    def __init__(self, keys: Sequence[str]) -> None:
        try:
            self._fernet = MultiFernet([Fernet(key) for key in keys])
        except ValueError as exc:
            raise SettingsError("FACTORY_SECRET_KEYS has one that is no key", hint=_HINT) from exc

    def seal(self, text: str) -> str:
        """The text, unreadable without a key; another one each time."""
        return self._fernet.encrypt(text.encode()).decode()

    def unseal(self, sealed: str) -> str:
        """What was sealed.

        Raises:
            PermanentError: none of the keys opens it.
        """
        try:
            return self._fernet.decrypt(sealed).decode()
        except InvalidToken as exc:
            raise PermanentError(
                "a stored secret cannot be read with the keys that are here",
                hint="FACTORY_SECRET_KEYS must keep the key that it was sealed with",
            ) from exc


def open_secret_box(keys: Sequence[str], file: Path | None) -> SecretBox:
    """The box of these keys; else of the one in the file, which is made where it is not there.

    Raises:
        SettingsError: there are no keys and no file, or one is no key.
    """
    if keys:
        return SecretBox(keys)
    if file is None:
        raise SettingsError(
            "secrets cannot be kept without FACTORY_SECRET_KEYS, where many machines share a store",
            hint=_HINT,
        )
    return SecretBox([_own_key(file)])


def _own_key(file: Path) -> str:
    if not file.exists():
        with tempfile.NamedTemporaryFile(dir=file.parent) as fresh:  # for its owner alone
            fresh.write(Fernet.generate_key())
            fresh.flush()
            os.fsync(fresh.fileno())
            with suppress(FileExistsError):  # of two who make one at once, the first counts
                os.link(fresh.name, file)
    return file.read_text().strip()
