"""data-fetch: what is fetched from where, what is refused, and when a copy takes its place."""

from __future__ import annotations

import os
import socket
from collections.abc import Generator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from factory_runtime.domain.artifact import Classification
from factory_runtime.domain.errors import (
    CancelledError,
    DataRefusedError,
    FactoryError,
    HostBusyError,
    HostRejectedError,
    UnreadableDataError,
)
from factory_runtime.jobs.registry import check_with
from factory_runtime.jobs.report.fetch import DataFetch
from factory_runtime.jobs.report.locations import addresses_of, parse_url, shown
from factory_runtime.settings import Settings
from factory_runtime.telemetry.trace_context import TraceContext, inside_context
from tests.data_server import ROWS, DataServer, a_certificate, data_server
from tests.reports import Lent, lent, published


@pytest.fixture
def server() -> Generator[DataServer]:
    with data_server() as running:
        yield running


def fetching(*hosts: str, roots: tuple[Path, ...] = ()) -> DataFetch:
    return DataFetch(lambda: Settings(data_hosts=hosts, source_roots=roots))


def a_with(location: str, **more: Any) -> dict[str, Any]:
    with_ = {"name": "sales", "location": location, "seconds": 5, **more}
    assert check_with(DataFetch.facts, with_) == ()
    return with_


def fetch(server: DataServer, path: str, context: Any, **more: Any) -> Any:
    return published(fetching(server.host), context, a_with(server.url(path), **more))


# what is fetched


def test_rows_over_http_lie_in_artifact_storage_under_their_digest(server: DataServer) -> None:
    server.serves("/sales.csv")
    with lent() as context:
        result = fetch(server, "/sales.csv?token=secret", context)
        assert context.storage.read("acme", result.outputs["digest"]) == ROWS
    outputs = result.outputs
    assert (outputs["rows"], outputs["columns"], outputs["format"]) == (4, 2, "csv")
    assert (outputs["stale"], outputs["fetched_at"]) == (False, "2026-11-21T12:00:00+00:00")
    assert result.degraded is None
    (draft,) = result.artifacts
    assert (draft.sha256, draft.media_type) == (outputs["digest"], "text/csv")
    assert "secret" not in repr(result)
    assert not any("secret" in line for line in context.lines)


@pytest.mark.parametrize(
    ("path", "kind", "wanted"),
    [
        ("/x", "application/json", "json"),
        ("/x", "application/vnd.api+json; charset=utf-8", "json"),
        ("/x.ndjson", "application/octet-stream", "json"),
        ("/x", "text/plain", "csv"),
        ("/x.json", "text/csv", "csv"),
    ],
)
def test_the_server_says_what_it_sends_and_else_its_name_does(
    server: DataServer, path: str, kind: str, wanted: str
) -> None:
    body = ROWS if wanted == "csv" else b'[{"day": 1}]'
    server.serves(path, body, content_type=kind)
    with lent() as context:
        assert fetch(server, path, context).outputs["format"] == wanted


def test_whoever_is_asked_for_data_is_told_the_trace(server: DataServer) -> None:
    server.serves("/x.csv")
    here = TraceContext("0a" * 16, "0b" * 8)
    with lent() as context, inside_context(here):
        fetch(server, "/x.csv", context)
    (_, headers), *_ = server.asked
    assert headers["traceparent"] == str(here)


def test_a_file_below_a_root_is_as_of_its_last_change(tmp_path: Path) -> None:
    file = tmp_path / "data" / "sales.csv"
    file.parent.mkdir()
    file.write_bytes(ROWS)
    os.utime(file, (86_400, 86_400))
    with lent() as context:
        for location in (str(file), f"file://{file}"):
            result = published(fetching(roots=(tmp_path,)), context, a_with(location))
            assert result.outputs["fetched_at"] == datetime(1970, 1, 2, tzinfo=UTC).isoformat()


def test_the_data_are_classified_as_the_template_says(server: DataServer) -> None:
    server.serves("/a.csv")
    with lent() as context:
        result = fetch(server, "/a.csv", context, classification="confidential")
    assert result.artifacts[0].classification is Classification.CONFIDENTIAL


# what is refused


@pytest.mark.parametrize(
    "location",
    [
        "/etc/passwd",
        "file:///etc/passwd",
        "file://elsewhere/etc/passwd",
        "{root}/../secret.csv",
        "{root}/link.csv",
        "{root}/folder",
        "{root}/pipe",
        "{root}/large.csv",
        "{root}",
        "sales.csv",
        "../secret.csv",
        "/no/such/file",
        "{root}/a\0b",
        "ftp://host/file.csv",
        "http://",
        "http://[bad/",
        "http://host:99999/",
        "http://host:0/",
        "http://ann:secret@host/",
        "http://host/a b",
        "http://host/a\r\nX-Evil: 1",
        "http://hóst/",
    ],
)
def test_a_location_that_may_not_be_read_is_refused_and_no_copy_replaces_it(
    tmp_path: Path, location: str
) -> None:
    root = tmp_path / "root"
    (root / "folder").mkdir(parents=True)
    (tmp_path / "secret.csv").write_bytes(ROWS)
    (root / "link.csv").symlink_to(tmp_path / "secret.csv")
    (root / "large.csv").write_bytes(b"a\n" + b"1\n" * 600_000)
    os.mkfifo(root / "pipe")
    with_ = {"name": "sales", "location": location.format(root=root), "max_mib": 1}
    with lent(last_attempt=True) as context, pytest.raises(DataRefusedError) as refused:
        fetching("host", roots=(root,)).publish(context, with_, None)
    assert "secret" not in str(refused.value).replace("secret.csv", "")


def test_a_file_that_is_not_there_now_may_be_later(tmp_path: Path) -> None:
    with lent() as context, pytest.raises(HostBusyError):
        published(fetching(roots=(tmp_path,)), context, a_with(f"{tmp_path}/later.csv"))


def test_a_host_that_is_not_listed_is_not_even_looked_up(server: DataServer) -> None:
    port = server.host.partition(":")[2]
    for listed in ((), ("127.0.0.1",), (f"localhost:{port}",), ("127.0.0.1:1",), ("[", "a:b:c")):
        with lent() as context, pytest.raises(DataRefusedError, match="no host that") as no:
            published(fetching(*listed), context, a_with(server.url("/x.csv")))
        assert no.value.hint is not None
    assert server.asked == []


def test_a_private_address_has_to_be_listed_by_its_own_name(server: DataServer) -> None:
    server.serves("/x.csv")
    port = server.host.partition(":")[2]
    with lent() as context, pytest.raises(DataRefusedError, match="private"):
        published(fetching(f"*:{port}"), context, a_with(server.url("/x.csv")))
    assert server.asked == []
    with lent() as context:
        published(fetching(f"*:{port}", server.host), context, a_with(server.url("/x.csv")))


def resolves_to(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every name be that of this address."""

    def look_up(*_: Any, **__: Any) -> Any:
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", (address, 443))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.1.2.3", "169.254.169.254", "::1", "fe80::1%lo", "::ffff:10.0.0.1", "0.1.2.3"],
)
def test_a_star_covers_public_addresses_alone(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolves_to(address, monkeypatch)
    parts = parse_url("https://data.example.com/x")
    with pytest.raises(DataRefusedError, match="private"):
        addresses_of(parts, ("*.example.com",))
    assert addresses_of(parts, ("data.example.com",)) == [address]
    with pytest.raises(DataRefusedError, match="no host that"):
        addresses_of(parts, ("*.other.com", "example.com", "xample.com"))


def test_a_public_address_is_covered_by_a_star(monkeypatch: pytest.MonkeyPatch) -> None:
    resolves_to("93.184.216.34", monkeypatch)
    assert addresses_of(parse_url("https://a.example.com/"), ("*",)) == ["93.184.216.34"]


def test_redirects_are_followed_to_listed_hosts_alone(server: DataServer) -> None:
    server.serves("/new.csv")
    server.serves("/old.csv", b"", 302, location="/new.csv")
    server.serves("/away.csv", b"", 307, location="http://169.254.169.254/secret")
    server.serves("/file.csv", b"", 302, location="file:///etc/passwd")
    server.serves("/loop.csv", b"", 302, location="/loop.csv")
    with lent() as context:
        assert fetch(server, "/old.csv", context).outputs["rows"] == 4
        for path in ("/away.csv", "/file.csv", "/loop.csv"):
            with pytest.raises(DataRefusedError):
                fetch(server, path, context)
    assert server.paths().count("/loop.csv") == 6


def test_a_body_larger_than_allowed_is_refused(server: DataServer) -> None:
    server.serves("/large.csv", b"a\n" + b"1\n" * 600_000)
    with lent(last_attempt=True) as context, pytest.raises(DataRefusedError, match="more than"):
        fetch(server, "/large.csv", context, max_mib=1)


def test_over_https_the_certificate_is_that_of_the_name_and_not_of_the_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, other = (a_certificate(tmp_path, name) for name in ("localhost", "elsewhere"))
    with data_server(mine) as server, lent() as context:
        host = server.host.replace("127.0.0.1", "localhost")
        server.serves("/x.csv")
        server.serves("/down.csv", b"", 302, location=f"http://{host}/x.csv")
        monkeypatch.setenv("SSL_CERT_FILE", str(mine))
        result = published(fetching(host), context, a_with(f"https://{host}/x.csv"))
        assert result.outputs["rows"] == 4
        assert server.asked[0][1]["Host"] == host
        with pytest.raises(DataRefusedError, match="away from https"):
            published(fetching(host), context, a_with(f"https://{host}/down.csv"))
        monkeypatch.setenv("SSL_CERT_FILE", str(other))
        with pytest.raises(HostBusyError, match="CERTIFICATE_VERIFY_FAILED"):
            published(fetching(host), context, a_with(f"https://{host}/x.csv"))
        assert len(server.asked) == 2


def test_the_certificate_of_another_name_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = a_certificate(tmp_path, "elsewhere")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with data_server(certificate) as server, lent() as context:
        host = server.host.replace("127.0.0.1", "localhost")
        with pytest.raises(HostBusyError, match="CERTIFICATE_VERIFY_FAILED"):
            published(fetching(host), context, a_with(f"https://{host}/x.csv"))
        assert server.asked == []


def test_what_the_server_refuses_is_not_replaced_by_a_copy(server: DataServer) -> None:
    server.serves("/x.csv")
    with lent(last_attempt=True) as context:
        context.keep(fetch(server, "/x.csv", context))
        server.serves("/x.csv", b"", 403)
        with pytest.raises(HostRejectedError, match="403"):
            fetch(server, "/x.csv", context)


# what may work later


def breaks(server: DataServer, how: str) -> dict[str, Any]:
    """Have ``/x.csv`` go wrong in some way; what to add to ``with``."""
    match how:
        case "hangs":
            server.hangs("/x.csv")
            return {"seconds": 0.3}
        case "trickles":
            server.trickles("/x.csv")
            return {"seconds": 0.3}
        case "trickles a header":
            server.trickles("/x.csv", b"HTTP/1.1 200 OK\r\nX-Slow: ")
            return {"seconds": 0.3}
        case "breaks off":
            server.breaks_off("/x.csv")
        case "page":
            server.serves("/x.csv", b"<html>sorry</html>", content_type="text/html")
        case "garbage":
            server.serves("/x.csv", b"\xff\xfe\xff", content_type="text/csv")
        case "packed":
            server.serves("/x.csv", ROWS, content_encoding="gzip")
        case _:
            server.serves("/x.csv", b"", int(how))
    return {}


FAULTS = [
    "hangs",
    "trickles",
    "trickles a header",
    "breaks off",
    "page",
    "garbage",
    "packed",
    "500",
    "503",
    "429",
    "408",
]


@pytest.mark.parametrize("how", FAULTS)
def test_a_source_in_trouble_is_asked_again_and_then_its_copy_is_served(
    server: DataServer, how: str
) -> None:
    server.serves("/x.csv")
    with lent() as context:
        fresh = fetch(server, "/x.csv", context)
        context.keep(fresh)
        more = breaks(server, how)
        with pytest.raises(HostBusyError):
            fetch(server, "/x.csv", context, **more)
        last = Lent(_last(context), context.storage, context.copies)
        stale = fetch(server, "/x.csv", last, **more)
    assert stale.outputs == {**fresh.outputs, "stale": True}
    assert stale.degraded == "stale: copy of 2026-11-21 12:00 UTC"
    assert [draft.sha256 for draft in stale.artifacts] == [fresh.outputs["digest"]]
    assert stale.artifacts[0].metadata["fetched_at"] == fresh.outputs["fetched_at"]


def _last(context: Lent) -> Any:
    return replace(context.facts, last_attempt=True)


@pytest.mark.parametrize("how", FAULTS)
def test_without_a_copy_the_last_attempt_fails_and_leaves_nothing(
    server: DataServer, how: str
) -> None:
    with lent(last_attempt=True) as context:
        with pytest.raises(HostBusyError):
            fetch(server, "/x.csv", context, **breaks(server, how))
        assert not context.storage.exists("acme", "0" * 64)
        assert context.copies == {}


@pytest.mark.parametrize("how", ["hangs", "trickles", "trickles a header"])
def test_the_time_of_a_source_is_for_all_of_its_answer(server: DataServer, how: str) -> None:
    with lent() as context, pytest.raises(HostBusyError, match=r"takes longer than 0\.3 s"):
        fetch(server, "/x.csv", context, **breaks(server, how))


def test_a_handshake_that_goes_on_for_ever_is_ended_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host = f"127.0.0.1:{silent.getsockname()[1]}"
        with lent() as context, pytest.raises(HostBusyError, match=r"takes longer than 0\.3 s"):
            published(fetching(host), context, a_with(f"https://{host}/x.csv", seconds=0.3))


def test_a_host_where_nobody_listens_is_one_in_trouble() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{taken.getsockname()[1]}"
        with lent() as context, pytest.raises(HostBusyError, match="does not answer"):
            published(fetching(host), context, a_with(f"http://{host}/x.csv"))


def test_a_copy_of_another_location_is_no_copy(server: DataServer) -> None:
    server.serves("/x.csv")
    with lent(last_attempt=True) as context:
        context.keep(fetch(server, "/x.csv", context))
        server.serves("/y.csv", b"", 500)
        with pytest.raises(HostBusyError):
            fetch(server, "/y.csv", context)


def test_a_copy_of_a_copy_keeps_its_time(server: DataServer) -> None:
    server.serves("/x.csv")
    with lent(last_attempt=True) as context:
        context.keep(fetch(server, "/x.csv", context))
        server.serves("/x.csv", b"", 500)
        context.keep(fetch(server, "/x.csv", context))
        stale = fetch(server, "/x.csv", context)
    assert stale.outputs["fetched_at"] == "2026-11-21T12:00:00+00:00"


def test_a_damaged_copy_is_not_served(server: DataServer) -> None:
    server.serves("/x.csv")
    with lent(last_attempt=True) as context:
        fresh = fetch(server, "/x.csv", context)
        context.keep(fresh)
        context.storage.delete("acme", fresh.outputs["digest"])
        server.serves("/x.csv", b"", 500)
        with pytest.raises(HostBusyError):
            fetch(server, "/x.csv", context)
    assert any("damaged or gone" in line for line in context.lines)


def test_a_copy_stays_for_those_who_might_see_it(server: DataServer) -> None:
    server.serves("/x.csv")
    with lent(last_attempt=True) as context:
        context.keep(fetch(server, "/x.csv", context, classification="confidential"))
        server.serves("/x.csv", b"", 500)
        stale = fetch(server, "/x.csv", context, classification="public")
    assert stale.artifacts[0].classification is Classification.CONFIDENTIAL


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        ("7", timedelta(seconds=7)),
        ("Sat, 21 Nov 2026 12:01:00 GMT", timedelta(minutes=1)),
        ("Sat, 21 Nov 2026 11:00:00 GMT", None),
        ("soon", None),
        ("9" * 400, timedelta(days=1)),
    ],
)
def test_the_time_that_a_server_asks_for_is_passed_on(
    server: DataServer, header: str, wanted: timedelta | None
) -> None:
    server.serves("/x.csv", b"", 503, retry_after=header)
    with lent() as context, pytest.raises(HostBusyError) as busy:
        fetch(server, "/x.csv", context)
    assert busy.value.retry_after == wanted


def test_a_cancelled_job_stops_between_two_parts_and_serves_no_copy(server: DataServer) -> None:
    server.serves("/x.csv")
    with lent(last_attempt=True) as context:
        context.keep(fetch(server, "/x.csv", context))
        context.cancelled = True
        with pytest.raises(CancelledError):
            fetch(server, "/x.csv", context)


def test_a_file_that_holds_no_rows_is_refused_at_once(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    file.write_text('[{"a": 1},')
    with lent(last_attempt=True) as context, pytest.raises(UnreadableDataError):
        published(fetching(roots=(tmp_path,)), context, a_with(str(file)))


def test_samples_are_rendered_and_nothing_else_is() -> None:
    job_type = DataFetch()
    order = job_type.render({"name": "a", "location": "sample:a.csv", "source": "files/samples"})
    assert order is not None
    assert order.layers[0].source == "files/samples"
    assert (
        job_type.render({"name": "a", "location": "https://h/a.csv", "source": "files/s"}) is None
    )
    with pytest.raises(FactoryError):
        job_type.render({"name": "a", "location": "sample:a.csv"})
    with lent() as context, pytest.raises(DataRefusedError, match="no sample"):
        published(job_type, context, a_with("sample:../../etc/passwd"))


def test_a_location_is_shown_without_its_secrets() -> None:
    assert shown("https://ann:pw@host/a?key=1#x") == "https://host/a"
    assert "\n" not in shown("https://host/a\nb\x1b[31m")
