"""Secrets in rows: unreadable without a key, and readable after one was changed."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from factory_runtime.domain.errors import PermanentError, SettingsError
from factory_runtime.services.secret_box import SecretBox, open_secret_box

OLD, NEW = (Fernet.generate_key().decode() for _ in range(2))


def test_what_an_old_key_sealed_is_read_while_it_is_kept():
    sealed = SecretBox([OLD]).seal("hush")
    assert "hush" not in sealed
    assert SecretBox([NEW, OLD]).unseal(sealed) == "hush"
    with pytest.raises(PermanentError):
        SecretBox([NEW]).unseal(sealed)


def test_processes_that_make_the_key_at_once_share_one(tmp_path: Path):
    file = tmp_path / "secret.key"
    with ThreadPoolExecutor(8) as pool:
        tries = [pool.submit(open_secret_box, [], file) for _ in range(8)]
        boxes = [one.result() for one in tries]
    assert {box.unseal(boxes[0].seal("hush")) for box in boxes} == {"hush"}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [file]


def test_without_keys_or_a_home_nothing_is_kept():
    with pytest.raises(SettingsError):
        open_secret_box([], None)
    with pytest.raises(SettingsError):
        open_secret_box(["short"], None)
