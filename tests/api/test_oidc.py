"""Tokens of issuers: who is let in by one, and all that is not one."""

from __future__ import annotations

import base64
import json
import logging
import time
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from fastapi.testclient import TestClient
from httpx2 import Response
from pydantic import ValidationError

from api.app import create_app
from api.issuer_keys import AGAIN, AWAY, FRESH, STALE, IssuerKeys
from api.tokens import Tokens
from factory_runtime.bootstrap import Runtime
from factory_runtime.bootstrap.ground import SystemClock
from factory_runtime.domain.access import Grant, Principal, Role
from factory_runtime.domain.errors import IssuerUnavailableError
from factory_runtime.settings import OidcIssuer, Settings
from tests.api.site import ApiSite
from tests.oidc_issuer import AUDIENCE, DISCOVERY, JWKS, Issuer, an_issuer, public

ME = "/api/v1/me"

_SHORT = rsa.generate_private_key(65537, 1024)  # noqa: S505 - to be refused
_STRANGER = ec.generate_private_key(ec.SECP256R1())
_STRANGER_S = public(_STRANGER, "stranger")


@pytest.fixture(scope="module")
def issuer() -> Generator[Issuer]:
    """One that everybody uses, with a key of each kind. Tests leave it as it is."""
    with an_issuer() as issuer:
        issuer.keys["rsa"] = rsa.generate_private_key(65537, 2048)
        issuer.keys["ed"] = ed25519.Ed25519PrivateKey.generate()
        issuer.more = [
            public(issuer.keys["ec"], "for encryption", use="enc"),
            public(issuer.keys["rsa"], "for PS256 alone", alg="PS256"),
            public(ec.generate_private_key(ec.SECP384R1()), "P-384"),
            public(_SHORT, "short"),
            {"kty": "oct", "kid": "symmetric", "k": _part(b"k" * 32)},
            {"kty": "EC", "kid": "damaged", "crv": "P-256", "x": "AA", "y": 7},
            {"kty": "RSA"},
        ]
        yield issuer


@pytest.fixture
def own_issuer() -> Generator[Issuer]:
    """One that the test may change."""
    with an_issuer() as issuer:
        yield issuer


@pytest.fixture(scope="module")
def tokens(issuer: Issuer) -> Tokens:
    return Tokens([trusted(issuer)])


def trusted(issuer: Issuer, **settings: Any) -> OidcIssuer:
    return OidcIssuer(issuer=issuer.url, audience=AUDIENCE, **settings)


def client(site: ApiSite, *issuers: OidcIssuer) -> TestClient:
    many = {"oidc_issuers": issuers, "api_refused_rate": "1000/minute"}
    settings = site.runtime.settings.model_copy(update=many)
    runtime = Runtime(settings, SystemClock())
    runtime.__dict__["store"] = site.store
    return TestClient(create_app(runtime), raise_server_exceptions=False)


def ask(client: TestClient, token: str) -> Response:
    return client.get(ME, headers={"Authorization": f"Bearer {token}"})


def _part(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def made_up(header: bytes | Mapping[str, Any], claims: bytes | Mapping[str, Any]) -> str:
    """A token of any header and claims, with a signature of nobody."""
    texts = (
        one if isinstance(one, bytes) else json.dumps(one).encode() for one in (header, claims)
    )
    return ".".join([*map(_part, texts), _part(b"signature")])


# --- let in


def test_a_good_token_says_who_somebody_is(small_site: ApiSite, issuer: Issuer):
    told = ask(client(small_site, trusted(issuer)), issuer.token()).json()
    assert (told["name"], told["tenantId"], told["groups"], told["keyId"]) == (
        "ada",
        "acme",
        ["ops"],
        None,
    )
    assert told["grants"] == [
        {"role": "operator", "projectId": "shop"},
        {"role": "viewer", "projectId": None},
    ]


@pytest.mark.parametrize(
    ("kid", "alg"), [("rsa", "RS256"), ("rsa", "PS256"), ("ec", "ES256"), ("ed", "EdDSA")]
)
def test_every_signature_that_is_allowed_is_read(
    tokens: Tokens, issuer: Issuer, kid: str, alg: str
):
    assert tokens.find(issuer.token(kid, alg), None) is not None


def test_claims_are_read_by_the_names_that_are_set(issuer: Issuer):
    named = trusted(
        issuer,
        tenant_claim="https://factory.example/tenant",
        name_claim="preferred_username",
        groups_claim="teams",
        roles_claim="roles",
    )
    said: dict[str, Any] = {
        "https://factory.example/tenant": "umbrella",
        "preferred_username": "ada.l",
        "teams": "ops board",
        "roles": ["admin:mill", "offline_access", 7, "admin:MILL", "viewer"],
    }
    token = issuer.token(**said)
    assert Tokens([named]).find(token, "10.0.0.7") == Principal(
        "ada.l",
        "umbrella",
        (Grant(Role.ADMIN, "mill"), Grant(Role.VIEWER)),
        frozenset({"ops", "board"}),
        None,
        "10.0.0.7",
    )


def test_who_has_no_role_may_do_nothing(small_site: ApiSite, issuer: Issuer):
    api = client(small_site, trusted(issuer))
    for roles in (None, [], "king", {"admin": True}, True, [["admin"]]):
        token = issuer.token(factory_roles=roles)
        assert ask(api, token).json()["grants"] == []
        headers = {"Authorization": f"Bearer {token}"}
        assert api.get("/api/v1/runs", headers=headers).status_code == 403


# --- refused


def _pem(issuer: Issuer) -> bytes:
    public_key = issuer.keys["rsa"].public_key()
    return public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _hs256(issuer: Issuer) -> str:
    """The library refuses to sign so: by hand."""
    import hashlib
    import hmac

    begun = made_up({"alg": "HS256", "kid": "rsa"}, issuer.claims()).rpartition(".")[0]
    signature = hmac.new(_pem(issuer), begun.encode(), hashlib.sha256).digest()
    return f"{begun}.{_part(signature)}"


def _changed(issuer: Issuer) -> str:
    header, _, signature = issuer.token().split(".")
    claims = json.dumps(issuer.claims(factory_tenant="umbrella")).encode()
    return f"{header}.{_part(claims)}.{signature}"


WRONG: dict[str, Callable[[Issuer], str]] = {
    "alg none": lambda i: jwt.encode(i.claims(), "", "none", {"kid": "ec"}),
    "alg None": lambda i: made_up({"alg": "None", "kid": "ec"}, i.claims()),
    "alg of no text": lambda i: made_up({"alg": ["ES256"], "kid": "ec"}, i.claims()),
    "no alg": lambda i: made_up({"kid": "ec"}, i.claims()),
    "signed with the public key": _hs256,
    "signed with a key of the list": lambda i: i.token("symmetric", "HS256", by=b"k" * 32),
    "an algorithm that is not taken": lambda i: i.token("rsa", "RS512"),
    "a key of another kind": lambda i: i.token("rsa", "ES256", by=i.keys["ec"]),
    "a key of another curve": lambda i: i.token("P-384", by=i.keys["ec"]),
    "a key of another algorithm": lambda i: i.token("for PS256 alone", "RS256", by=i.keys["rsa"]),
    "a key for encryption": lambda i: i.token("for encryption", by=i.keys["ec"]),
    "a damaged key": lambda i: i.token("damaged", by=i.keys["ec"]),
    "a stranger's signature": lambda i: i.token(by=_STRANGER),
    "a stranger's key along": lambda i: i.token(by=_STRANGER, headers={"jwk": _STRANGER_S}),
    "a stranger's list of keys": lambda i: i.token(by=_STRANGER, headers={"jku": f"{i.url}/x"}),
    "a stranger's certificate": lambda i: i.token(by=_STRANGER, headers={"x5u": f"{i.url}/x"}),
    "changed claims": _changed,
    "an extension that must be known": lambda i: i.token(headers={"crit": ["x"], "x": 1}),
    "claims beside the token": lambda i: i.token(headers={"b64": False, "crit": ["b64"]}),
    "no kid": lambda i: jwt.encode(i.claims(), i.keys["ec"], "ES256"),
    "an unknown kid": lambda i: i.token("other", by=i.keys["ec"]),
    "a kid that is a URL": lambda i: i.token(f"{i.url}/x", by=_STRANGER),
    "a kid that is a path": lambda i: i.token("../../../../dev/null", by=_STRANGER),
    "a kid that is SQL": lambda i: i.token("' OR 1=1 --", by=_STRANGER),
    "a kid that is a number": lambda i: made_up({"alg": "ES256", "kid": 7}, i.claims()),
    "another audience": lambda i: i.token(aud="accounts"),
    "no audience": lambda i: i.token(aud=None),
    "a longer audience": lambda i: i.token(aud="factory2"),
    "another issuer": lambda i: i.token(iss="https://login.example"),
    "an issuer with a slash more": lambda i: i.token(iss=f"{i.url}/"),
    "no issuer": lambda i: i.token(iss=None),
    "an issuer that is a list": lambda i: made_up(
        {"alg": "ES256", "kid": "ec"}, i.claims() | {"iss": [i.url]}
    ),
    "expired": lambda i: i.token(exp=int(time.time()) - 60),
    "not yet valid": lambda i: i.token(nbf=int(time.time()) + 300),
    "made in the future": lambda i: i.token(iat=int(time.time()) + 300),
    "no end": lambda i: i.token(exp=None),
    "an end that is a word": lambda i: i.token(exp="tomorrow"),
    "an end beyond numbers": lambda i: i.token(exp=float("inf")),
    "an end that is no number": lambda i: i.token(exp=float("nan")),
    "no tenant": lambda i: i.token(factory_tenant=None),
    "a tenant that is a path": lambda i: i.token(factory_tenant="../acme"),
    "a tenant in capitals": lambda i: i.token(factory_tenant="Acme"),
    "several tenants": lambda i: i.token(factory_tenant=["acme"]),
    "a tenant that is nothing": lambda i: i.token(factory_tenant=""),
    "no name": lambda i: i.token(sub=None),
    "the name of a group": lambda i: i.token(sub="group:ops"),
    "the factory's name": lambda i: i.token(sub="system"),
    "a name of two lines": lambda i: i.token(sub="ada\nroot"),
    "a name that is a number": lambda i: made_up(
        {"alg": "ES256", "kid": "ec"}, i.claims() | {"sub": 7}
    ),
    "too long": lambda i: i.token(groups=["x" * 100] * 200),
    "no token": lambda _: "eyJ",
    "dots": lambda _: "..",
    "claims that are a list": lambda _: made_up({"alg": "ES256", "kid": "ec"}, b"[]"),
    "a header that is a list": lambda i: made_up(b"[]", i.claims()),
    "deep claims": lambda _: made_up({"alg": "ES256", "kid": "ec"}, b"[" * 9000),
    "a number of many digits": lambda _: made_up(
        {"alg": "ES256"}, b'{"exp": ' + b"9" * 9000 + b"}"
    ),
    "no JSON": lambda _: made_up({"alg": "ES256", "kid": "ec"}, b"\xff\xfe"),
    "five parts": lambda i: f"{i.token()}.a.b",
}


def test_everything_that_is_no_good_token_gets_the_same_answer(small_site: ApiSite, issuer: Issuer):
    api = client(small_site, trusted(issuer))
    assert ask(api, issuer.token()).status_code == 200
    answers = {name: ask(api, make(issuer)) for name, make in WRONG.items()}
    assert {name: one.status_code for name, one in answers.items() if one.status_code != 401} == {}
    told = [{k: v for k, v in one.json().items() if k != "traceId"} for one in answers.values()]
    assert all(one == told[0] for one in told)
    assert set(issuer.asked) == {DISCOVERY, JWKS}, "nowhere that a token names"


def test_a_short_rsa_key_is_refused(tokens: Tokens, issuer: Issuer):
    with pytest.warns(jwt.InsecureKeyLengthWarning):
        token = issuer.token("short", "RS256", by=_SHORT)
    assert tokens.find(token, None) is None


def test_an_issuer_speaks_for_itself_and_for_its_tenant_alone(issuer: Issuer, own_issuer: Issuer):
    tokens = Tokens([trusted(issuer), trusted(own_issuer, tenant="umbrella")])
    theirs = tokens.find(own_issuer.token(factory_tenant=None), None)
    assert theirs is not None
    assert theirs.tenant_id == "umbrella"
    assert tokens.find(own_issuer.token(factory_tenant="umbrella"), None) is not None
    assert tokens.find(own_issuer.token(factory_tenant="acme"), None) is None
    # Signed by the one in the other's name, with a key id that both have.
    assert tokens.find(own_issuer.token(iss=issuer.url), None) is None
    assert tokens.find(issuer.token(), None) is not None


def test_without_issuers_no_token_is_good(issuer: Issuer):
    asked = len(issuer.asked)
    assert Tokens([]).find(issuer.token(), None) is None
    assert len(issuer.asked) == asked


# --- the issuer's keys


class Seconds:
    """Passes when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_key_that_is_not_there_is_looked_for_once_in_a_while(own_issuer: Issuer):
    seconds = Seconds()
    keys = IssuerKeys(own_issuer.url, seconds)
    for number in range(50):
        assert keys.find(f"made up {number}") is None
    assert own_issuer.asked == [DISCOVERY, JWKS]
    own_issuer.keys = {"new": own_issuer.keys["ec"]}
    assert keys.find("new") is None
    seconds.now += AGAIN
    assert keys.find("new") is not None
    assert keys.find("ec") is None, "one that was withdrawn is gone"
    assert own_issuer.asked == [DISCOVERY, JWKS] * 2


def test_a_key_that_was_withdrawn_is_good_no_longer_after_a_while(own_issuer: Issuer):
    seconds = Seconds()
    keys = IssuerKeys(own_issuer.url, seconds)
    assert keys.find("ec") is not None
    own_issuer.keys = {}
    seconds.now += FRESH - 1
    assert keys.find("ec") is not None
    seconds.now += 1
    assert keys.find("ec") is None


def _discovers(it: Issuer, /, **changes: Any) -> tuple[int, Mapping[str, str], bytes]:
    told = {"issuer": it.url, "jwks_uri": f"{it.url}{JWKS}", **changes}
    return 200, {}, json.dumps(told).encode()


BROKEN: dict[str, Callable[[Issuer], dict[str, tuple[int, Mapping[str, str], bytes]]]] = {
    "fails": lambda _: {DISCOVERY: (500, {}, b"")},
    "knows nothing": lambda _: {DISCOVERY: (404, {}, b"")},
    "redirects": lambda i: {DISCOVERY: (302, {"Location": f"{i.url}/elsewhere"}, b"")},
    "keys redirect": lambda i: {JWKS: (307, {"Location": f"{i.url}/elsewhere"}, b"")},
    "says nothing": lambda _: {DISCOVERY: (200, {}, b"")},
    "is a page": lambda _: {DISCOVERY: (200, {}, b"<html>")},
    "is a list": lambda _: {DISCOVERY: (200, {}, b"[]")},
    "is deep": lambda _: {DISCOVERY: (200, {}, b"[" * 100_000)},
    "is too large": lambda _: {JWKS: (200, {}, b" " * 300_000 + b'{"keys": []}')},
    "is another": lambda i: {DISCOVERY: _discovers(i, issuer="https://login.example")},
    "names no keys": lambda i: {DISCOVERY: _discovers(i, jwks_uri=None)},
    "keys lie in a file": lambda i: {DISCOVERY: _discovers(i, jwks_uri="file:///etc/passwd")},
    "keys lie elsewhere": lambda i: {
        DISCOVERY: _discovers(i, jwks_uri=f"{i.url.replace('127.0.0.1', 'localhost')}{JWKS}")
    },
    "keys are none": lambda _: {JWKS: (200, {}, b'{"keys": {}}')},
}


@pytest.mark.parametrize("name", BROKEN)
def test_an_issuer_that_tells_no_keys_is_as_good_as_away(own_issuer: Issuer, name: str):
    own_issuer.answers = BROKEN[name](own_issuer)
    seconds = Seconds()
    keys = IssuerKeys(own_issuer.url, seconds)
    for _ in range(5):
        with pytest.raises(IssuerUnavailableError) as refused:
            keys.find("ec")
        assert refused.value.retry_after is not None
        assert 0 < refused.value.retry_after.total_seconds() <= AWAY
    assert len(own_issuer.asked) <= 2, "it is not asked again at once"
    assert "/elsewhere" not in own_issuer.asked
    own_issuer.answers = {}
    seconds.now += AWAY
    assert keys.find("ec") is not None


def test_who_comes_while_the_issuer_is_away_is_told_to_come_back(
    small_site: ApiSite, own_issuer: Issuer
):
    api = client(small_site, trusted(own_issuer))
    own_issuer.answers = {DISCOVERY: (503, {}, b"")}
    answer = ask(api, own_issuer.token())
    assert answer.status_code == 503
    assert 1 <= int(answer.headers["retry-after"]) <= AWAY
    assert answer.json()["type"].endswith(":issuer-unavailable")


def test_an_issuer_that_is_away_locks_nobody_out_whose_key_is_known(own_issuer: Issuer):
    seconds = Seconds()
    keys = IssuerKeys(own_issuer.url, seconds)
    assert keys.find("ec") is not None
    own_issuer.answers = {DISCOVERY: (503, {}, b"")}
    seconds.now += FRESH
    assert keys.find("ec") is not None
    with pytest.raises(IssuerUnavailableError):
        keys.find("new")
    seconds.now += STALE - FRESH
    with pytest.raises(IssuerUnavailableError):
        keys.find("ec")


def test_of_many_who_come_at_once_one_asks_the_issuer(
    own_issuer: Issuer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("api.issuer_keys._TURN", 60.0)  # however slow this machine is
    keys = IssuerKeys(own_issuer.url)
    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(keys.find, ["ec"] * 8))
    assert own_issuer.asked == [DISCOVERY, JWKS]


def test_nobody_whose_key_is_known_waits_for_a_slow_issuer(own_issuer: Issuer):
    seconds = Seconds()
    keys = IssuerKeys(own_issuer.url, seconds)
    assert keys.find("ec") is not None
    seconds.now += FRESH
    own_issuer.slow.clear()
    with ThreadPoolExecutor(1) as threads:
        flight = threads.submit(keys.find, "ec")
        while len(own_issuer.asked) < 3:
            time.sleep(0.005)
        assert keys.find("ec") is not None
        with pytest.raises(IssuerUnavailableError):
            keys.find("made up")
        assert not flight.done()
        own_issuer.slow.set()
        assert flight.result() is not None


def test_an_issuer_is_under_tls_or_on_this_machine():
    for url in ("https://login.example/realms/x", "http://localhost:8080", "http://[::1]:1/a"):
        assert OidcIssuer(issuer=url, audience="a").issuer == url
    bad = ("http://login.example", "http://127.0.0.1.login.example", "ftp://x", "login.example", "")
    for url in (*bad, "https://", "https://x/?a=b", "https://x/#a", "https://ada:pw@x"):
        with pytest.raises(ValidationError):
            OidcIssuer(issuer=url, audience="a")
    one = OidcIssuer(issuer="https://x", audience="a")
    with pytest.raises(ValidationError, match="twice"):
        Settings(oidc_issuers=(one, one.model_copy(update={"audience": "b"})))


def test_nothing_that_is_kept_or_logged_says_a_token(
    small_site: ApiSite, issuer: Issuer, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.DEBUG)
    api = client(small_site, trusted(issuer))
    shown = [issuer.token(), issuer.token(by=_STRANGER), issuer.token(aud="accounts")]
    for token in shown:
        ask(api, token)
        api.post("/api/v1/keys", json={"name": token}, headers={"Authorization": f"Bearer {token}"})
    kept = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    said = kept + "\n".join(f"{one.getMessage()} {vars(one)}" for one in caplog.records).encode()
    for token in shown:
        for part in token.split(".")[1:]:
            assert part.encode() not in said
