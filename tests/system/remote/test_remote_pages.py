"""Pages by a Factory API: the same words and exit codes as of the stores."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from cli.desk.remote import RemoteDesk
from factory_runtime.client import FactoryClient, Target
from factory_runtime.domain.errors import CorruptArtifactError
from tests.api.laid_out import TEXT
from tests.builders import a_memory
from tests.far import Far, me

READING = (
    "runs list",
    "runs list --limit 1",
    "runs list --where status=Failed --since 2h",
    "runs list --project nowhere",
    "runs show {failed}",
    "runs show {waiting}",
    "runs logs {failed}",
    "runs logs {failed} --step make",
    "jobs show {failed} make",
    "jobs show {failed} make --traceback",
    "jobs show {waiting} check",
    "jobs logs {failed}",
    "dead-letters list",
    "dead-letters list --letters",
    "dead-letters list --all --limit 1",
    "dead-letters show {letter}",
    "dead-letters orders",
    "dead-letters retry --where project=shop --preview",
    "dead-letters discard --where project=shop --reason no --preview",
    "approvals list",
    "approvals show {approval}",
    "effects list",
    "effects list --run {failed} --status intended",
    "artifacts list",
    "artifacts list --run {failed}",
    "audit list",
    "keys list",
    "runs cancel --where project=shop --preview",
    "runs retry --since 2h --preview",
    "run service --set service_name=orders --set size=3 --dry-run",
    # and what is not there, or is asked for in a wrong way
    "runs show run-none",
    "runs watch run-none",
    "jobs show {failed} mak",
    "dead-letters show letter-none",
    "approvals show appr-none",
    "artifacts get art-none",
    "effects list --run run-none",
    "templates show servic",
    "runs list --where status=Faild",
    "runs list --cursor nonsense",
    "run service --set service_name=ORDERS --dry-run",
    "run servic --dry-run",
    "memory forget",
    "memory forget --run {failed}",
    "memory forget --run run-none --yes",
    "memory forget --run {failed} --project shop --yes",
    "memory forget --project nowhere --yes",
    "memory forget --everything --yes",
    "memory forget --everything --tenant acme",
)


@pytest.mark.parametrize("line", READING)
def test_a_page_is_the_same_here_and_by_the_api(far: Far, line: str):
    laid = far.laid
    words = line.format(
        failed=laid.failed,
        waiting=laid.waiting,
        letter=laid.letter.id,
        approval=laid.approval.id,
        artifact=laid.artifact.id,
    ).split()
    for more in ([], ["--json"]):
        near, by_api = far.here(*words, *more), far.typed(*words, *more)
        # Of a tenant that is not this home's own, commands say whose they are; a key says it too.
        there = near.out.replace(" --tenant acme", "")
        assert (by_api.out, by_api.err, by_api.code) == (there, near.err, near.code)


def test_templates_are_listed_and_shown_without_where_they_lie(far: Far):
    rows = [far.here("templates", "list", "--json"), far.typed("templates", "list", "--json")]
    near, by_api = ({one["id"]: one for one in said.json["templates"]} for said in rows)
    assert by_api.keys() == near.keys()
    assert by_api["service"] == {**near["service"], "origin": ""}
    near_page, page = (say("templates", "show", "service").out for say in (far.here, far.typed))
    told = [line for line in near_page.splitlines() if not line.startswith("folder")]
    assert [line.split() for line in page.splitlines()] == [line.split() for line in told]


@pytest.mark.parametrize(
    "options",
    [
        "--project shop",
        "--kind run --outcome succeeded --since 99999d",
        "--where outcome='succeeded' --limit 1",
        "--collection templates",
        "--where tenant='acme'",
        "--where ''",
        "--since yesterday",
    ],
)
@pytest.mark.parametrize("more", [[], ["--json"]])
def test_what_is_remembered_is_found(far: Far, options: str, more: list[str]):
    search = ("memory", "search", "orders", *shlex.split(options, posix=False), *more)
    near, by_api = far.here(*search), far.typed(*search)
    assert (by_api.out, by_api.code) == (near.out, near.code)
    assert ("mem-1" in near.out, near.code) in {(True, 0), (False, 0), (False, 2)}


def test_a_context_package_is_the_same_here_and_by_the_api(far: Far):
    asked = ("memory", "context", "add a queue to orders", "--budget", "500", "--json")
    near, by_api = far.here(*asked), far.typed(*asked)
    assert (near.code, by_api.out) == (0, near.out)
    package = near.json["context_package_id"]
    assert far.typed("memory", "context", "--package", package, "--json").out == near.out
    page = far.typed("memory", "context", "--package", package).out
    assert "[1] orders\norders service\n(run, score " in page
    assert f"{package}: 1 memory, " in page
    for words, code in (
        (("--package", "ctx-none"), 3),
        ((), 2),
        (("orders", "--package", package), 2),
        (("orders", "--budget", "1"), 2),
        (("orders", "--ttl", "2d"), 2),
        (("orders", "--ttl", "soon"), 2),
    ):
        both = [say("memory", "context", *words) for say in (far.here, far.typed)]
        assert [said.code for said in both] == [code, code], words


def test_a_query_of_any_length_is_looked_for_by_the_api_too(far: Far):
    assert "mem-1" in far.typed("memory", "search", "orders " * 10_000).out
    assert far.typed("memory", "search", " ").code == far.here("memory", "search", " ").code == 2


def test_what_was_learned_is_forgotten(far: Far):
    for project, say in (("known-here", far.here), ("known-there", far.typed)):
        run_id = far.run(projectId=project)
        runs = (run_id, "run-before", "run-before")
        known = [
            a_memory(id=f"mem-{project}-{number}", run_id=run, project_id=project)
            for number, run in enumerate(runs)
        ]
        with far.site.store.begin("acme") as tx:
            tx.save_memories(known)
        page = say("memory", "forget", "--run", run_id, "--yes").out
        told = say("memory", "forget", "--project", project, "--yes", "--json")
        assert page.splitlines()[0] == f"forgot 1 memory of run {run_id}"
        # On the stores the command takes it out of the index too; by the API, whoever does it there.
        follows = say == far.typed
        assert told.json == {
            "erased": {"scope": "project", "key": project, "memories": 2, "changed": 0},
            "index_follows": follows,
        }
        assert ("the next sweep" in page) is follows
        with far.site.store.begin("acme", read_only=True) as tx:
            assert tx.find_memories([memory.id for memory in known]) == ()


def test_who_has_everything_forgotten_names_the_credential_s_tenant(far: Far):
    for tenant in ("acme", "umbrella"):
        with far.site.store.begin(tenant) as tx:
            tx.save_memories([a_memory(id=f"mem-of-{tenant}", tenant_id=tenant)])
    words, key = ("memory", "forget", "--everything", "--yes"), far.site.token(me("umbrella"))
    refused = far.typed(*words, "--tenant", "acme", key=key)
    assert (refused.code, "'acme' is not" in refused.err) == (2, True)
    told = far.typed(*words, "--tenant", "umbrella", key=key)
    assert (told.code, told.out.splitlines()[0]) == (0, "forgot 1 memory of tenant umbrella")
    left = {"acme": 1, "umbrella": 0}
    for tenant, count in left.items():
        with far.site.store.begin(tenant, read_only=True) as tx:
            assert len(tx.find_memories([f"mem-of-{tenant}"])) == count


def test_an_artifact_is_got_and_must_match_its_digest(far: Far, tmp_path: Path):
    artifact, file = far.laid.artifact, tmp_path / "orders.md"
    assert far.typed("artifacts", "get", artifact.id).out == TEXT.decode()
    told = far.typed("artifacts", "get", artifact.id, "--output", str(file))
    assert (told.code, file.read_bytes()) == (0, TEXT)
    assert "verified" in told.out
    # What arrives is looked at here too: a proxy on the way may have changed it.
    wrong = replace(artifact, sha256="0" * 64)
    with FactoryClient(Target(far.url, far.key)) as client:
        desk = RemoteDesk(client, "default")
        with pytest.raises(CorruptArtifactError), desk.body_of(wrong):
            pass
