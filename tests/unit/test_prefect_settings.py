"""What our processes tell Prefect before they import it."""

import os
import ssl
from pathlib import Path

import pytest

from deployments.executor import one_certificate, set_prefect
from factory_runtime.settings import Settings

API_URL = "http://127.0.0.1:4200/api"
CERTIFICATES = "PREFECT_API_SSL_CERT_FILE"


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    own: dict[str, str] = {}
    monkeypatch.setattr(os, "environ", own)
    return own


def test_clients_of_our_own_server_read_one_certificate(
    tmp_path: Path, environment: dict[str, str]
):
    set_prefect(Settings(home=tmp_path), API_URL)
    context = ssl.create_default_context(cafile=environment[CERTIFICATES])
    assert context.cert_store_stats()["x509"] == 1


def test_a_server_that_somebody_else_keeps_is_checked_against_all_authorities(
    tmp_path: Path, environment: dict[str, str]
):
    theirs = "https://prefect.example/api"
    set_prefect(Settings(home=tmp_path, prefect_api_url=theirs), theirs)
    assert CERTIFICATES not in environment


def test_a_home_that_takes_no_files_costs_the_speed_alone(
    tmp_path: Path, environment: dict[str, str]
):
    (tmp_path / "prefect").write_text("not a folder")
    set_prefect(Settings(home=tmp_path), API_URL)
    assert CERTIFICATES not in environment
    assert environment["PREFECT_API_URL"] == API_URL


def test_who_reads_the_certificate_while_another_process_writes_it_finds_it_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    place = one_certificate(tmp_path)
    whole, seen = place.read_text(), list[str]()
    write = Path.write_text

    def halfway(file: Path, text: str) -> int:
        write(file, "")
        seen.append(place.read_text())
        return write(file, text)

    monkeypatch.setattr(Path, "write_text", halfway)
    assert one_certificate(tmp_path).read_text() == whole
    assert seen == [whole]
    assert list(tmp_path.iterdir()) == [place]
