"""Where policies are read from, and what stands while they cannot be."""

from __future__ import annotations

import os
import threading
from collections.abc import Generator
from datetime import timedelta
from pathlib import Path

import pytest

from factory_runtime.domain.artifact import ArtifactType
from factory_runtime.domain.errors import InputError, PolicyUnavailableError, StoreUnavailableError
from factory_runtime.domain.policy import Expiry, Limits, Policy, PolicyRecord
from factory_runtime.ports import RunStore
from factory_runtime.run_store import InMemoryRunStore
from factory_runtime.services import policy_folder
from factory_runtime.services.policy import FRESH, PolicyBook
from tests.builders import NOON, TENANT
from tests.small_factory import SettableClock

GOOD = "quotas: {running_runs: 3}\n"


class Site:
    """A folder, a table and a book on both."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = InMemoryRunStore()
        self.away = False
        self.clock = SettableClock()
        self.book = PolicyBook(self.open_store, folder, self.clock)

    def open_store(self) -> RunStore:
        if self.away:
            raise StoreUnavailableError("the run store does not answer")
        return self.store

    def write(self, text: str | bytes, tenant: str = TENANT) -> Path:
        file = self.folder / f"{tenant}.yaml"
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return file

    def apply(self, text: str, tenant: str = TENANT, version: int = 1) -> None:
        with self.store.begin(tenant) as tx:
            tx.save_policy(PolicyRecord(tenant, version, text, "d" * 64, NOON, "ada"))

    def running_runs(self, tenant: str = TENANT) -> list[int | None]:
        return [policy.limits.running_runs for policy in self.book.of(tenant)]


@pytest.fixture
def site(tmp_path: Path) -> Generator[Site]:
    site = Site(tmp_path)
    yield site
    site.store.close()


def refusal(site: Site, tenant: str = TENANT) -> str:
    with pytest.raises(PolicyUnavailableError) as caught:
        site.book.of(tenant)
    return str(caught.value)


def test_a_tenant_without_a_policy_has_none(site: Site):
    assert site.book.of(TENANT) == ()
    assert site.book.limits_of(TENANT) == Limits()
    assert site.book.notices_of(TENANT) == ()


def test_a_tenants_own_file_stands_in_for_the_default_one(site: Site):
    site.write("quotas: {running_runs: 9}", "default")
    assert site.running_runs() == [9]
    site.write(GOOD)
    assert site.running_runs() == [3]
    assert site.running_runs("other") == [9]


def test_the_file_and_the_table_are_both_asked_and_name_themselves(site: Site):
    site.write(GOOD)
    site.apply("max_deadline: 2h")
    assert [policy.source for policy in site.book.of(TENANT)] == ["file acme.yaml", "table"]
    assert [policy.source for policy in site.book.of("other")] == []


def test_the_tenants_of_both_are_known_and_the_default_is_none_of_them(site: Site):
    site.write(GOOD, "default")
    site.write(GOOD, "in-a-file")
    site.apply(GOOD, "in-the-table")
    assert site.book.tenants() == ("in-a-file", "in-the-table")


def test_of_how_long_two_policies_have_a_type_kept_what_comes_first_counts(site: Site):
    site.write("expiry: {data-export: 7d, generated-file: 9d, analysis-result: 1d}")
    site.apply("expiry: {data-export: downloaded, generated-file: 8d, message-content: 2d}")
    assert site.book.expiry_of(TENANT) == {
        ArtifactType.DATA_EXPORT: Expiry(timedelta(days=7), once_downloaded=True),
        ArtifactType.GENERATED_FILE: Expiry(timedelta(days=8)),
        ArtifactType.ANALYSIS_RESULT: Expiry(timedelta(days=1)),
        ArtifactType.MESSAGE_CONTENT: Expiry(timedelta(days=2)),
    }
    assert site.book.expiry_of("other") == {}


def test_a_broken_policy_has_things_kept_as_its_last_good_one_did_and_fails_nobody(site: Site):
    site.write("expiry: {data-export: soon}")
    assert site.book.expiry_of(TENANT) == {}
    site.write("expiry: {data-export: 7d}")
    site.clock.pass_time(FRESH)
    kept = site.book.expiry_of(TENANT)
    assert kept == {ArtifactType.DATA_EXPORT: Expiry(timedelta(days=7))}
    site.write("expiry: {data-export: soon}")
    site.clock.pass_time(FRESH)
    assert site.book.expiry_of(TENANT) == kept


def test_a_removed_policy_is_none(site: Site):
    site.apply("max_deadline: 2h")
    site.apply("", version=2)
    assert site.book.of(TENANT) == ()


def test_a_changed_file_counts_at_once_even_with_its_old_time_and_size(site: Site):
    file = site.write(GOOD)
    assert site.running_runs() == [3]
    times = file.stat()
    site.write(GOOD.replace("3", "4"))
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert site.running_runs() == [4]


def test_mistakes_refuse_and_name_file_and_line(site: Site):
    file = site.write("weight: 1\nquotas: {running: 3}\ntopics: {a: -1}\n")
    message = refusal(site)
    assert f"{file}:2:10: unknown-key" in message
    assert "and 1 more" in message


def test_mistakes_in_the_table_refuse_and_name_its_version(site: Site):
    site.apply("weight: none")
    assert "policy 1 of acme in the table:1:9" in refusal(site)


@pytest.mark.parametrize(
    "body", [b"", b"# all of it was cut off\n", b"weight: \xff\n", b"[1]", b"a: b: c"]
)
def test_what_is_no_policy_refuses(site: Site, body: bytes):
    file = site.write(body)
    assert str(file) in refusal(site)


def test_a_broken_default_refuses_for_those_without_a_file_alone(site: Site):
    site.write("weight: none", "default")
    site.write(GOOD)
    assert site.running_runs() == [3]
    refusal(site, "other")


def test_a_folder_in_the_place_of_a_file_refuses(site: Site):
    site.write(GOOD, "default")
    (site.folder / "acme.yaml").mkdir()
    assert "acme.yaml cannot be read" in refusal(site)


@pytest.mark.parametrize("name", ["acme.yml", "default.yml"])
def test_a_file_with_another_ending_refuses_rather_than_being_passed_over(site: Site, name: str):
    (site.folder / name).write_text(GOOD)
    assert f"{name} is not called" in refusal(site)


def test_a_pipe_in_the_place_of_a_file_refuses_without_waiting_for_a_writer(site: Site):
    os.mkfifo(site.folder / "acme.yaml")
    assert "acme.yaml is not a file" in refusal(site)


@pytest.mark.parametrize("target", ["nowhere.yaml", "acme.yaml"])
def test_a_link_that_leads_nowhere_refuses(site: Site, target: str):
    site.write(GOOD, "default")
    (site.folder / "acme.yaml").symlink_to(target)
    assert "acme.yaml" in refusal(site)


def test_a_policy_folder_that_is_not_there_refuses(tmp_path: Path):
    site = Site(tmp_path / "unmounted")
    assert "unmounted" in refusal(site)
    site.store.close()


def test_a_file_that_is_removed_while_it_is_read_refuses(
    site: Site, monkeypatch: pytest.MonkeyPatch
):
    file = site.write(GOOD)
    site.write("{}", "default")
    fstat = os.fstat

    def remove(descriptor: int) -> os.stat_result:
        file.unlink(missing_ok=True)
        return fstat(descriptor)

    monkeypatch.setattr(policy_folder.os, "fstat", remove)
    assert "was removed while it was read" in refusal(site)


def test_a_file_that_changes_each_time_it_is_read_refuses(
    site: Site, monkeypatch: pytest.MonkeyPatch
):
    file = site.write(GOOD)
    fstat = os.fstat

    def grow(descriptor: int) -> os.stat_result:
        facts = fstat(descriptor)
        with file.open("a") as more:
            more.write("# more\n")
        return facts

    monkeypatch.setattr(policy_folder.os, "fstat", grow)
    assert "changes while it is read" in refusal(site)


def test_a_file_that_is_replaced_again_and_again_is_read_whole_or_refused(site: Site):
    texts = [f"quotas: {{running_runs: {n}}}\n" + "# rest\n" * n * 40 for n in (1, 2)]
    site.write(texts[0])
    stop = threading.Event()

    def replace_on() -> None:
        number = 0
        while not stop.is_set():
            number = 1 - number
            other = site.folder / "next"
            other.write_text(texts[number])
            other.rename(site.folder / "acme.yaml")

    thread = threading.Thread(target=replace_on)
    thread.start()
    try:
        seen = {_or_refused(site) for _ in range(100)}
    finally:
        stop.set()
        thread.join()
    assert seen <= {1, 2, None}
    assert seen & {1, 2}


def _or_refused(site: Site) -> int | None:
    try:
        (found,) = site.running_runs()
    except PolicyUnavailableError:
        return None
    return found


@pytest.mark.parametrize(
    "tenant", ["..", "../acme", "/etc/passwd", "a/b", "acme\n", "", "Acme", "a\0b"]
)
def test_a_tenant_named_like_a_path_is_none(site: Site, tenant: str):
    site.write(GOOD)
    with pytest.raises(InputError):
        site.book.of(tenant)
    with pytest.raises(InputError):
        site.book.limits_of(tenant)


def test_limits_of_two_policies_are_the_smaller_ones(site: Site):
    site.write("quotas: {running_runs: 3, projects: {shop: 2}}\ntopics: {docs: 4}\n")
    site.apply(
        "weight: 5\nquotas: {running_runs: 7, projects: {shop: 1, web: 6}}\ntopics: {docs: 9, a: 0}\n"
    )
    assert site.book.limits_of(TENANT) == Limits(
        weight=5, running_runs=3, projects={"shop": 1, "web": 6}, topics={"docs": 4, "a": 0}
    )


@pytest.mark.parametrize(("file", "weight"), [("weight: 1", 1), ("weight: 0.5", 0.5), ("{}", 5)])
def test_the_files_weight_counts_before_the_tables(site: Site, file: str, weight: float):
    site.write(file)
    site.apply("weight: 5")
    assert site.book.limits_of(TENANT).weight == weight


def test_targets_of_two_policies_add_up_each_under_a_name_of_its_own(site: Site):
    site.write("notify: [{name: ops, to: 'log://'}, {name: mail, to: $MAIL}]")
    site.apply("notify: [{name: ops, to: $OPS}, {name: mail, to: $MAIL}]")
    found = {rule.name: rule.to for rule in site.book.notices_of(TENANT)}
    assert found == {"ops": "log://", "mail": "$MAIL", "ops-too": "$OPS"}


def test_limits_are_read_anew_after_some_seconds(site: Site):
    site.write(GOOD)
    assert site.book.limits_of(TENANT).running_runs == 3
    site.write("quotas: {running_runs: 1}")
    site.apply("topics: {docs: 1}")
    assert site.book.limits_of(TENANT).running_runs == 3
    site.clock.pass_time(FRESH)
    assert site.book.limits_of(TENANT) == Limits(running_runs=1, topics={"docs": 1})


def test_a_target_that_was_just_applied_hears_of_the_next_notice(site: Site):
    site.book.limits_of(TENANT)  # what a dispatcher asks for, a moment before
    assert site.book.notices_of(TENANT) == ()
    site.apply("notify: [{name: ops, to: 'log://'}]")
    site.write("notify: [{name: mail, to: $MAIL}]")
    assert [rule.name for rule in site.book.notices_of(TENANT)] == ["mail", "ops"]


def test_a_clock_that_goes_back_does_not_keep_old_limits(site: Site):
    site.write(GOOD)
    site.book.limits_of(TENANT)
    site.write("quotas: {running_runs: 1}")
    site.clock.pass_time(timedelta(hours=-1))
    assert site.book.limits_of(TENANT).running_runs == 1


def test_the_last_good_limits_go_on_while_a_policy_is_broken_and_that_is_logged(
    site: Site, caplog: pytest.LogCaptureFixture
):
    file = site.write(GOOD + "notify: [{name: ops, to: 'log://'}]")
    site.book.limits_of(TENANT)
    site.write("quotas: {running_runs: many}")
    for _ in range(3):
        site.clock.pass_time(FRESH)
        assert site.book.limits_of(TENANT).running_runs == 3
        assert [rule.name for rule in site.book.notices_of(TENANT)] == ["ops"]
    assert [str(file) in message for message in caplog.messages] == [True]  # once
    site.write("quotas: {running_runs: 1}")
    site.clock.pass_time(FRESH)
    assert site.book.limits_of(TENANT).running_runs == 1


def test_a_process_that_begins_while_a_policy_is_broken_does_not_take_it_for_no_limit(site: Site):
    site.write("quotas: {running_runs: many}")
    site.apply("quotas: {running_runs: 2}")
    for ask in (site.book.limits_of, site.book.notices_of):
        with pytest.raises(PolicyUnavailableError, match="running_runs"):
            ask(TENANT)
    site.write("quotas: {running_runs: 1}")
    site.clock.pass_time(FRESH)
    assert site.book.limits_of(TENANT).running_runs == 1


def test_the_last_good_limits_go_on_while_the_store_is_away(site: Site):
    site.apply(GOOD)
    site.book.limits_of(TENANT)
    site.away = True
    site.clock.pass_time(FRESH)
    assert site.book.limits_of(TENANT).running_runs == 3
    with pytest.raises(StoreUnavailableError):
        site.book.of(TENANT)


def test_every_broken_policy_is_listed(site: Site):
    site.write("weight: none")
    site.write(GOOD, "other")
    site.apply("quotas: 3", "third")
    first, second = site.book.broken()
    assert "acme.yaml:1:9" in first
    assert "third in the table" in second


@pytest.mark.parametrize("name", ["acme.yml", "Acme.yaml", "acme.json", "a b.yaml"])
def test_a_file_that_is_no_tenants_is_listed_as_broken(site: Site, name: str):
    (site.folder / name).write_text(GOOD)
    (site.folder / "README.md").write_text("What our tenants may ask for.")
    (told,) = site.book.broken()
    assert f"{name} is no tenant's: call it TENANT.yaml" in told


def test_a_missing_folder_is_listed_as_broken(tmp_path: Path):
    site = Site(tmp_path / "unmounted")
    (told,) = site.book.broken()
    assert "unmounted" in told
    site.store.close()


def test_policies_are_values(site: Site):
    site.write(GOOD)
    first, second = site.book.of(TENANT)[0], site.book.of(TENANT)[0]
    assert isinstance(first, Policy)
    assert first is second  # parsed once
