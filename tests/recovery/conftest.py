"""What the executors of these tests share: a Prefect server, and the nursery they come from.

Both end with the last of these tests, and take no time from others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.executors import Nursery, Site, shared_prefect
from tests.prefect_server import Prefect

SQLITE_IN_SOAK = (
    pytest.param("sqlite", marks=pytest.mark.soak),
    pytest.param("postgres", marks=pytest.mark.service),
)
POSTGRES_IN_SOAK = (
    "sqlite",
    pytest.param("postgres", marks=(pytest.mark.service, pytest.mark.soak)),
)
"""For ``each_site``, where `make test` has other tests for the difference between databases."""


@pytest.fixture(scope="package")
def prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prefect]:
    with shared_prefect(tmp_path_factory.mktemp("prefect")) as server:
        yield server


@pytest.fixture(scope="package")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    nursery = Nursery(tmp_path_factory.mktemp("nursery") / "executors.log")
    yield nursery
    nursery.close()


@pytest.fixture
def a_site(tmp_path: Path, nursery: Nursery, prefect: Prefect) -> Iterator[Callable[..., Site]]:
    """Makes sites, and ends what they have started."""
    made: list[Site] = []

    def make(**settings: Any) -> Site:
        made.append(Site(tmp_path / f"site-{len(made)}", nursery, prefect, **settings))
        return made[-1]

    yield make
    for site in made:
        site.close()


@pytest.fixture
def site(a_site: Callable[..., Site]) -> Site:
    return a_site()


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.service)])
def each_site(request: pytest.FixtureRequest, a_site: Callable[..., Site]) -> Site:
    """One on each of the real databases."""
    if request.param == "sqlite":
        return a_site()
    return a_site(database_url=request.getfixturevalue("postgres_url"))
