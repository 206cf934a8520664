"""What may be given, and how it is spelled."""

from __future__ import annotations

import pytest

from factory_runtime.domain.access import Grant, Principal, Role, is_person
from factory_runtime.domain.api_key import FreshKey, hash_of, may_give, prefix_of
from factory_runtime.domain.errors import InputError


def somebody(*grants: str, groups: tuple[str, ...] = ()) -> Principal:
    return Principal("ada", "acme", tuple(map(Grant.parse, grants)), frozenset(groups))


def gives(giver: Principal, *grants: str, groups: tuple[str, ...] = ()) -> bool:
    return may_give(giver, tuple(map(Grant.parse, grants)), groups)


def test_a_grant_is_spelled_as_it_is_read():
    for text in ("viewer", "operator:shop", "admin:a.b-c_d"):
        assert str(Grant.parse(text)) == text
    for text in ("", "king", "admin:", "operator:Shop", "operator:a:b", " viewer", "ADMIN"):
        with pytest.raises(InputError):
            Grant.parse(text)


def test_who_administers_all_gives_all():
    admin = somebody("admin")
    assert gives(admin, "admin", "viewer:shop", groups=("ops",))


def test_who_administers_a_project_gives_what_is_in_it():
    admin = somebody("admin:shop", "viewer", "operator:mill", groups=("ops",))
    assert gives(admin, *(f"{role}:shop" for role in Role), groups=("ops",))
    for beyond in ("viewer", "admin", "operator:mill", "viewer:mill", "viewer:shopping"):
        assert not gives(admin, "viewer:shop", beyond), beyond
    assert not gives(admin, "viewer:shop", groups=("ops", "board"))


def test_who_does_not_administer_gives_nothing():
    for role in set(Role) - {Role.ADMIN}:
        assert not gives(somebody(role), "viewer:shop")


def test_nobody_is_called_like_the_factory_or_like_a_group():
    for name in ("ada", "ada lovelace", "ada@example.org", "auth0|5f7c", "Ä", "x" * 200):
        assert is_person(name), name
    bad = ("", " ", " ada", "ada ", "system", "prefect", "group:ops", "a\nb", "a\x00b", "x" * 201)
    for name in (*bad, "webhook:ci", "a\u202eb", "a\ud800b", "a\u2028b"):
        assert not is_person(name), repr(name)


def test_a_key_is_random_and_says_nothing_of_itself():
    keys = [FreshKey.make() for _ in range(50)]
    assert len({key.text for key in keys}) == len({key.prefix for key in keys}) == 50
    for key in keys:
        assert key.text.startswith(f"fk_{key.prefix}_")
        assert len(key.text) == 3 + 12 + 1 + 43
        secret = key.text.removeprefix(f"fk_{key.prefix}_")
        assert secret not in repr(key) + str(key) + key.hash
        assert prefix_of(key.text) == key.prefix


def test_what_is_no_key_has_a_prefix_that_none_has():
    good = FreshKey.make().text
    for text in ("", "fk_", good[:-1], good + "a", good.upper(), f" {good}", good + "\n", "\ud800"):
        assert prefix_of(text) == "-"
        assert len(hash_of(text)) == 64
