"""Publishing versions of templates: immutable, side by side, and run from the stores alone."""

from __future__ import annotations

import shutil
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from factory_runtime.domain import folder_stamp
from factory_runtime.domain.errors import (
    CorruptArtifactError,
    FactoryError,
    InputError,
    InvalidTemplateError,
    NotFoundError,
    TemplateChangedError,
    TemplateNotFoundError,
    TransientError,
    UnknownTemplateError,
)
from factory_runtime.domain.folder_stamp import Unchanged
from factory_runtime.domain.git_location import GitLocation
from factory_runtime.domain.run import RunStatus
from factory_runtime.jobs.render.limits import RenderLimits
from factory_runtime.ports import FetchedTemplate
from factory_runtime.services.catalog import TemplateCatalog
from factory_runtime.services.kept_templates import KeptTemplates, keep_template
from factory_runtime.services.publish_template import Publisher
from factory_runtime.services.request_desk import RequestDesk
from factory_runtime.services.request_run import request_run
from tests.builders import TENANT, a_run_request
from tests.small_factory import SmallFactory, steps

PLACE = "git+https://git.example/platform/templates@v1#subdirectory=demo"


class OneFolder:
    """A git host that gives a folder of this machine, as ``ports.TemplateRepository`` says."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.commit = "c" * 40

    @contextmanager
    def fetch(self, location: GitLocation) -> Generator[FetchedTemplate]:
        del location
        yield FetchedTemplate(self.folder, self.commit)


@pytest.fixture
def repository(tmp_path: Path) -> OneFolder:
    return OneFolder(tmp_path / "fetched" / "demo")


@pytest.fixture
def publisher(factory: SmallFactory, repository: OneFolder) -> Publisher:
    return Publisher(factory.store, factory.storage, factory.catalog, factory.clock, repository)


def written(
    factory: SmallFactory, version: str = "1.0.0", text: str = "a:", readme: str = ""
) -> Path:
    """A template outside of the folders that the catalog looks into."""
    aside = SmallFactory(factory.folder.parent / "fetched")
    folder = aside.template(steps(text), version=version)
    aside.store.close()
    (folder / "files" / "readme.txt").write_text(readme)
    return folder


def elsewhere(factory: SmallFactory, tmp_path: Path) -> TemplateCatalog:
    """The catalog of another machine, which shares the stores and no folder."""
    kept = KeptTemplates(
        lambda: factory.store, factory.storage, tmp_path / "elsewhere", RenderLimits()
    )
    return TemplateCatalog([], factory.catalog.job_types, kept=kept)


def test_what_was_published_runs_from_the_stores_alone(
    factory: SmallFactory, publisher: Publisher, tmp_path: Path
) -> None:
    folder = written(factory)
    published = publisher.publish(TENANT, PLACE, "ada")
    assert (published.is_new, published.publication.commit_id) == (True, "c" * 40)
    assert published.publication.origin == PLACE.replace("@v1", "")
    shutil.rmtree(folder)
    catalog = elsewhere(factory, tmp_path)
    assert "demo" in catalog.names(TENANT)
    desk = RequestDesk(factory.store, factory.storage, catalog, factory.clock)
    run = request_run(desk, a_run_request(template="demo", inputs={}))
    assert run.template_digest == published.template.digest
    assert factory.drive(factory.take_up(run)).status is RunStatus.SUCCEEDED


def test_a_tenant_has_only_what_was_published_to_it(
    factory: SmallFactory, publisher: Publisher, tmp_path: Path
) -> None:
    written(factory)
    published = publisher.publish(TENANT, PLACE, "ada")
    catalog = elsewhere(factory, tmp_path)
    catalog.load("demo", tenant_id=TENANT)  # its copy lies there by now
    kept, digest = catalog.kept, published.template.digest
    assert kept is not None
    assert (kept.has(TENANT, digest), kept.has("umbrella", digest)) == (True, False)
    with pytest.raises(CorruptArtifactError):
        kept.load_digest("umbrella", digest, {}, (), "demo")
    for tenant in ("umbrella", None):
        assert "demo" not in catalog.names(tenant)
        for version in (None, "1.0.0"):
            with pytest.raises(UnknownTemplateError):
                catalog.load("demo", version, tenant)


def test_versions_stand_side_by_side_and_the_newest_is_taken(
    factory: SmallFactory, publisher: Publisher, repository: OneFolder
) -> None:
    for version in ("1.9.0", "1.10.0", "2.0.0-rc.1"):
        repository.folder = written(factory, version)
        publisher.publish(TENANT, PLACE, "ada")
    load = factory.catalog.load
    assert load("demo", tenant_id=TENANT).version == "1.10.0"
    assert load("demo", "2.0.0-rc.1", TENANT).version == "2.0.0-rc.1"
    with pytest.raises(UnknownTemplateError, match="no version 3") as refused:
        load("demo", "3.0.0", TENANT)
    assert "1.10.0, 1.9.0, 2.0.0-rc.1" in str(refused.value.hint)
    factory.template(steps("a:"), version="0.1.0")
    assert load("demo", tenant_id=TENANT).version == "0.1.0", "a folder of one's own comes first"
    assert load("demo", "1.9.0", TENANT).version == "1.9.0"


def test_a_published_version_never_changes(
    factory: SmallFactory, publisher: Publisher, repository: OneFolder
) -> None:
    written(factory)
    first = publisher.publish(TENANT, PLACE, "ada")
    repository.commit = "d" * 40
    again = publisher.publish(TENANT, PLACE, "bob")
    assert (again.is_new, again.publication) == (False, first.publication)
    written(factory, readme="moved")  # the tag, to another commit
    with pytest.raises(TemplateChangedError, match=r"demo 1\.0\.0"):
        publisher.publish(TENANT, PLACE, "bob")
    assert factory.catalog.load("demo", tenant_id=TENANT).digest == first.template.digest
    with factory.store.begin(TENANT, read_only=True) as tx:
        (entry,) = tx.list_audit(subject="demo")
    assert (entry.actor, entry.action, entry.detail["commit"]) == (
        "ada",
        "template.publish",
        "c" * 40,
    )


def test_of_two_who_publish_a_version_otherwise_one_is_refused(
    factory: SmallFactory, tmp_path: Path
) -> None:
    publishers: list[Publisher] = []
    for number in range(2):
        place = tmp_path / f"of-{number}" / "demo"
        shutil.copytree(written(factory, readme=f"of {number}"), place)
        host = OneFolder(place)
        ports = (factory.store, factory.storage, factory.catalog, factory.clock)
        publishers.append(Publisher(*ports, host))

    def publish(publisher: Publisher) -> str | None:
        try:
            return publisher.publish(TENANT, PLACE, "ada").template.digest
        except TemplateChangedError:
            return None

    with ThreadPoolExecutor(2) as threads:
        (digest,) = {*threads.map(publish, publishers)} - {None}
    assert factory.catalog.load("demo", tenant_id=TENANT).digest == digest


def test_many_who_read_a_version_for_the_first_time_get_it_whole(
    factory: SmallFactory, publisher: Publisher, tmp_path: Path
) -> None:
    written(factory)
    digest = publisher.publish(TENANT, PLACE, "ada").template.digest
    machines = [elsewhere(factory, tmp_path) for _ in range(6)]  # with one home

    def read(catalog: TemplateCatalog) -> str:
        return catalog.load("demo", tenant_id=TENANT).digest

    with ThreadPoolExecutor(6) as threads:
        assert {*threads.map(read, machines)} == {digest}
    assert [place.name for place in (tmp_path / "elsewhere").iterdir()] == [digest]


def test_a_version_that_a_run_began_otherwise_cannot_be_published(
    factory: SmallFactory, publisher: Publisher
) -> None:
    factory.template(steps("a:", "b:"))
    factory.request()
    written(factory)
    with pytest.raises(TemplateChangedError):
        publisher.publish(TENANT, PLACE, "ada")


def test_a_folder_is_published_like_a_repository(
    factory: SmallFactory, publisher: Publisher
) -> None:
    folder = written(factory)
    one = publisher.publish(TENANT, str(folder), "ada").publication
    assert (one.origin, one.ref, one.commit_id) == (str(folder), None, None)
    with pytest.raises(NotFoundError):
        publisher.publish(TENANT, str(folder / "nowhere"), "ada")


def test_what_is_not_in_order_is_not_published(
    factory: SmallFactory, publisher: Publisher, tmp_path: Path
) -> None:
    folder = written(factory)
    outside = tmp_path / "outside"
    outside.mkdir()
    source = f"steps:\n  - {{name: a, type: paint, with: {{source: {outside}}}}}\n"
    head = "id: demo\nversion: 1.0.0\n"
    (folder / "template.yaml").write_text(head + source)
    with pytest.raises(InvalidTemplateError) as refused:
        publisher.publish(TENANT, PLACE, "ada")
    (problem,) = refused.value.problems
    assert problem.code == "hostile-source", "others do not have that folder"
    assert problem.file.startswith("git+https://git.example/"), "not a name that is gone"
    assert factory.catalog.publications(TENANT) == ()


def test_with_a_withdrawn_version_no_run_begins_and_those_that_have_go_on(
    factory: SmallFactory, publisher: Publisher
) -> None:
    written(factory)
    publisher.publish(TENANT, PLACE, "ada")
    run = factory.request()
    (gone,) = publisher.withdraw(TENANT, "demo", None, "bob")
    assert gone.withdrawn_at == factory.clock.now()
    assert publisher.withdraw(TENANT, "demo", "1.0.0", "eve") == [gone]
    with pytest.raises(UnknownTemplateError):
        factory.request()
    assert factory.drive(factory.take_up(run)).status is RunStatus.SUCCEEDED
    with pytest.raises(TemplateNotFoundError):
        publisher.withdraw(TENANT, "demo", "2.0.0", "bob")
    with pytest.raises(TemplateNotFoundError):
        publisher.withdraw("umbrella", "demo", None, "bob")
    assert publisher.publish(TENANT, PLACE, "ada").is_new
    factory.request()


def test_a_withdrawn_version_comes_back_as_it_was_published_first(
    factory: SmallFactory, publisher: Publisher
) -> None:
    folder = written(factory)
    first = publisher.publish(TENANT, PLACE, "ada").publication
    publisher.withdraw(TENANT, "demo", None, "bob")
    factory.clock.pass_time()
    again = publisher.publish(TENANT, str(folder), "bob")
    assert (again.is_new, again.publication) == (True, first)
    assert factory.catalog.publications(TENANT) == (first,)


def test_files_that_are_gone_or_damaged_are_told_of_and_mended_by_publishing_again(
    factory: SmallFactory, publisher: Publisher, tmp_path: Path
) -> None:
    written(factory)
    digest = publisher.publish(TENANT, PLACE, "ada").template.digest
    catalog = elsewhere(factory, tmp_path)
    factory.storage.delete(TENANT, digest)
    with pytest.raises(CorruptArtifactError, match="gone"):
        catalog.load("demo", tenant_id=TENANT)
    assert not publisher.publish(TENANT, PLACE, "ada").is_new
    assert catalog.load("demo", tenant_id=TENANT).digest == digest


@pytest.mark.parametrize("trusted", [0.0, 60.0], ids=["looked at each time", "while serving"])
def test_a_copy_that_somebody_wrote_to_is_made_anew(
    factory: SmallFactory,
    publisher: Publisher,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    trusted: float,
) -> None:
    monkeypatch.setattr(folder_stamp, "_SETTLED_NANOSECONDS", -1)
    written(factory, readme="as published")
    publisher.publish(TENANT, PLACE, "ada")
    catalog = elsewhere(factory, tmp_path)
    copy = catalog.load("demo", tenant_id=TENANT).folder / "files" / "readme.txt"
    copy.write_text("tampered")
    monkeypatch.setattr(Unchanged, "trusted_seconds", trusted)
    catalog = elsewhere(factory, tmp_path)  # of a process that begins now
    catalog.load("demo", tenant_id=TENANT)
    assert copy.read_text() == "as published"


def test_a_folder_that_cannot_be_looked_into_hides_no_template(
    factory: SmallFactory, tmp_path: Path
) -> None:
    file = tmp_path / "no-folder"
    file.touch()
    factory.template(steps("one:"))
    catalog = factory.catalog
    beside = replace(catalog, folders=[file, tmp_path / "gone", *catalog.folders])
    assert beside.load("demo").digest == catalog.load("demo").digest


@pytest.mark.parametrize("text", [None, "", "steps: ["], ids=["deleted", "emptied", "cut off"])
def test_a_copy_that_is_there_in_part_is_made_anew(
    factory: SmallFactory, publisher: Publisher, tmp_path: Path, text: str | None
) -> None:
    written(factory)
    digest = publisher.publish(TENANT, PLACE, "ada").template.digest
    catalog = elsewhere(factory, tmp_path)
    place = catalog.load("demo", tenant_id=TENANT).folder / "template.yaml"
    place.unlink()
    if text is not None:
        place.write_text(text)
    assert catalog.load("demo", tenant_id=TENANT).digest == digest


def test_a_whole_copy_that_suits_no_job_type_is_refused_and_stays(
    factory: SmallFactory, publisher: Publisher
) -> None:
    written(factory)
    publisher.publish(TENANT, PLACE, "ada")
    copy = factory.catalog.load("demo", tenant_id=TENANT).folder
    before = copy.stat().st_ino
    without = TemplateCatalog([], {}, kept=factory.kept)
    with pytest.raises(InvalidTemplateError):
        without.load("demo", tenant_id=TENANT)
    assert copy.stat().st_ino == before, "others may be reading it"


def test_a_folder_that_changes_while_it_is_read_is_not_kept(factory: SmallFactory) -> None:
    factory.template(steps("a:"))
    stale = replace(factory.catalog.load("demo"), digest="0" * 64)
    with pytest.raises(TransientError, match="was changed"):
        keep_template(factory.storage, TENANT, stale)
    assert not factory.storage.exists(TENANT, "0" * 64)


@pytest.mark.parametrize("name", ["../demo", "demo/../demo", "/etc", ""])
def test_a_name_cannot_climb_out(factory: SmallFactory, name: str) -> None:
    factory.template(steps("a:"))
    with pytest.raises(FactoryError) as refused:
        factory.catalog.load(name, tenant_id=TENANT)
    assert isinstance(refused.value, InputError)
