"""`factory keys`: who may come in by the API."""

from __future__ import annotations

from tests.cli_home import Factory

_WORDS = ("keys", "add", "ci", "--role", "operator:shop", "--role", "viewer", "--group", "ops")


def test_a_key_stands_alone_on_standard_output_and_is_never_shown_again(factory: Factory):
    made = factory(*_WORDS, "--expires", "90d")
    text = made.out.strip()
    assert made.code == 0
    assert factory.runtime.store.find_api_key(text[3:15]) is not None
    assert len(text) == 59
    assert "shown this once" in made.err
    assert text not in made.err
    listed = factory("keys", "list")
    assert f"fk_{text[3:15]}" in listed.out
    assert "operator:shop, viewer" in listed.out
    facts = factory("keys", "list", "--json")
    assert facts.json["keys"][0]["grants"] == ["operator:shop", "viewer"]
    for said in (listed.out, facts.out):
        assert text[16:] not in said
        assert "hash" not in said


def test_keys_are_the_tenant_s_that_is_named(factory: Factory):
    made = factory(*_WORDS, "--tenant", "acme", "--json").json
    assert made["tenant_id"] == "acme"
    assert "no keys" in factory("keys", "list").out
    assert factory("keys", "revoke", made["id"]).code == 3
    assert factory("keys", "revoke", made["id"], "--tenant", "acme").code == 0


def test_a_rotated_key_is_good_until_the_overlap_ends(factory: Factory):
    old = factory(*_WORDS, "--json").json
    new = factory("keys", "rotate", old["id"], "--json").json
    assert new["replaces"] == old["id"]
    assert new["key"] != old["key"]
    assert len(factory("keys", "list", "--json").json["keys"]) == 2
    again = factory("keys", "rotate", old["id"], "--json")
    assert again.code == 4
    assert new["id"] in again.error["message"]
    assert factory("keys", "rotate", new["id"], "--overlap", "0s").code == 0
    good = [key["id"] for key in factory("keys", "list", "--json").json["keys"]]
    assert new["id"] not in good
    assert old["id"] in good


def test_a_revoked_key_is_listed_where_all_are(factory: Factory):
    made = factory(*_WORDS, "--json").json
    assert "good no longer" in factory("keys", "revoke", made["id"]).out
    assert factory("keys", "revoke", made["id"]).code == 0
    assert "no keys" in factory("keys", "list").out
    assert "revoked" in factory("keys", "list", "--all").out


def test_what_makes_no_key_is_bad_input(factory: Factory):
    for words in (
        ("add", "ci"),
        ("add", "ci", "--role", "king"),
        ("add", "ci", "--role", "viewer:No"),
        ("add", "group:ops", "--role", "viewer"),
        ("add", "ci", "--role", "viewer", "--expires", "soon"),
        ("rotate", "key-9", "--overlap", "soon"),
    ):
        assert factory("keys", *words).code == 2, words
    for words in (("revoke", "key-9"), ("rotate", "key-9")):
        assert factory("keys", *words).code == 3, words
    assert "no keys" in factory("keys", "list", "--all").out
