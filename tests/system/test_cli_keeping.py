"""`factory artifacts`: how long what runs made is kept, as it is typed and read."""

from __future__ import annotations

from dataclasses import replace

import pytest

from factory_runtime.domain.artifact import ArtifactType
from factory_runtime.domain.run import Run
from tests.cli_home import Factory, Said, fail_run


@pytest.fixture
def failed(factory: Factory) -> Run:
    return fail_run(factory.runtime)


def got(factory: Factory) -> Said:
    return factory("artifacts", "get", "art-1", "--output", "copy")


def expire_and_get(factory: Factory) -> int:
    assert factory("artifacts", "expire", "art-1", "--now").code == 0
    return got(factory).code


@pytest.mark.usefixtures("failed")
def test_what_has_expired_is_not_got_and_may_be_kept_again(factory: Factory) -> None:
    assert expire_and_get(factory) == 3
    assert "--never" in got(factory).err
    kept = factory("artifacts", "expire", "art-1", "--never")
    assert "for good" in kept.out
    assert got(factory).code == 0


@pytest.mark.usefixtures("failed")
def test_a_hold_stands_until_it_is_released(factory: Factory, failed: Run) -> None:
    held = factory("artifacts", "hold", failed.id, "--reason", "asked for", "--json").json["hold"]
    assert (held["scope"], held["released_at"]) == ("run", None)
    assert expire_and_get(factory) == 0
    assert held["id"] in factory("artifacts", "holds").out
    assert "held no more" in factory("artifacts", "release", held["id"]).out
    assert got(factory).code == 3
    assert "nothing is held" in factory("artifacts", "holds").out
    (one,) = factory("artifacts", "holds", "--released", "--json").json["holds"]
    assert one["id"] == held["id"]
    assert factory("artifacts", "hold", "art-1", "--reason", " ").code == 2
    assert factory("artifacts", "hold", "art-none", "--reason", "why").code == 3
    assert factory("artifacts", "release", "hold-none").code == 3


@pytest.mark.usefixtures("failed")
def test_what_is_kept_until_downloaded_expires_behind_that(factory: Factory) -> None:
    said = factory("artifacts", "expire", "art-1", "--once-downloaded")
    assert "until downloaded" in said.out
    assert got(factory).code == 0
    (listed,) = factory("artifacts", "list", "--json").json["artifacts"]
    assert listed["expires_at"] is not None


@pytest.mark.usefixtures("failed")
@pytest.mark.parametrize(
    "asked",
    [
        (),
        ("--never", "--now"),
        ("--never", "--once-downloaded"),
        ("--in", "5d", "--now"),
        ("--in", "soon"),
    ],
)
def test_it_must_be_clear_when_it_expires(factory: Factory, asked: tuple[str, ...]) -> None:
    assert factory("artifacts", "expire", "art-1", *asked).code == 2


@pytest.mark.usefixtures("failed")
def test_message_content_is_for_who_asked_alone(factory: Factory) -> None:
    with factory.runtime.store.begin("local") as tx:
        artifact = tx.get_artifact("art-1")
        tx.add_artifacts([replace(artifact, type=ArtifactType.MESSAGE_CONTENT)])
    said = got(factory)
    assert said.code != 0
    assert "message-content" in said.err


@pytest.mark.usefixtures("failed")
def test_a_sweep_leaves_what_a_run_that_may_go_on_has_made(factory: Factory) -> None:
    expire_and_get(factory)
    assert factory("artifacts", "sweep", "--json").json == {"marked": 0, "deleted": 0}
    assert factory("sweep", "--json").json["bodies"] == 0
    assert factory("artifacts", "expire", "art-1", "--never").code == 0
