"""The render box against well-meant, broken and hostile templates, each in its real child."""

from __future__ import annotations

import io
import tarfile
import threading
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from factory_runtime.domain.errors import (
    ArtifactNotFoundError,
    CorruptArtifactError,
    FactoryError,
    HostileTemplateError,
    PermanentError,
    RenderFailedError,
    RenderLimitError,
    SecretLeakError,
)
from factory_runtime.domain.result import Layer, RenderOrder
from factory_runtime.domain.tree import pack_folder
from factory_runtime.jobs.render.box import render
from factory_runtime.jobs.render.limits import RenderLimits
from tests.renders import LIMITS, MIB, Box, Source
from tests.surfaces import files_with

ANSWERS = {"{{ _copier_conf.answers_file }}.jinja": "{{ _copier_answers|to_nice_yaml }}"}


def assert_clean(box: Box, error: FactoryError) -> None:
    """One line, for people: no place of this machine, no traceback."""
    text = f"{error} {error.hint or ''}"
    assert "\n" not in text
    assert "Traceback" not in text
    assert str(box.root) not in text
    assert "factory-render-" not in text


# --- what works


def test_layers_are_rendered_over_each_other_with_their_own_data(box: Box) -> None:
    question = "name: {type: str}\nport: {type: int, default: 80}\n"
    box.add("files/base", {"copier.yml": question, "a.txt.jinja": "{{ name }}", "b.txt": "base"})
    box.add("files/more", {"copier.yml": question, "{{ name }}/c.jinja": "{{ port }}", "b.txt": ""})

    rendered = box.render(
        ("files/base", {"name": "orders", "port": 81, "unknown": [1]}),
        ("files/more", {"name": "billing"}),
    )

    tree = box.tree(rendered)
    assert {path: file.content for path, file in tree.items()} == {
        "a.txt": b"orders",
        "b.txt": b"",
        "billing/c": b"80",
    }
    assert rendered.reference.files == 3
    assert 20 * MIB < rendered.peak_memory_bytes < LIMITS.memory_bytes
    assert 0 < rendered.cpu_seconds < 20


def test_bytes_modes_links_and_odd_names_survive(box: Box) -> None:
    binary = bytes(range(256))

    tree = box.files(
        {
            "copier.yml": "_preserve_symlinks: true\n",
            "binary.dat": binary,
            "run.sh.jinja": "#!/bin/sh\n",
            "with space/größe ☃.txt": "x",
            "target.txt": "t",
        },
        links={"link.txt": "target.txt"},
    )

    assert tree["binary.dat"].content == binary
    assert tree["with space/größe ☃.txt"].content == b"x"
    assert tree["run.sh"].executable
    assert tree["link.txt"].link == "target.txt"


def test_the_same_order_gives_the_same_bytes_wherever_it_is_rendered(
    box: Box, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    files = {
        **ANSWERS,
        "copier.yml": "name: orders\nparts: {type: yaml, default: {b: 1, a: [2]}}\n",
        "all.txt.jinja": "{{ _src_path }} {{ _folder_name }} {{ _copier_conf.src_path }} "
        "{{ _copier_conf.dst_path }} {{ _copier_python }} {{ _copier_conf|to_json }} "
        "{{ parts|to_nice_yaml }} {{ 'a b c'.split()|unique|list }}",
    }
    digest = box.add("files/base", files)
    first = box.render(("files/base", {"seen": True}))
    other = tmp_path / "elsewhere" / "deeper"
    other.mkdir(parents=True)
    monkeypatch.chdir(other)
    monkeypatch.setenv("PYTHONHASHSEED", "77")
    monkeypatch.setenv("HOME", str(other))
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    second = render(
        RenderOrder((Layer("files/base", {"seen": True}),)),
        box.sources,
        box.storage,
        "acme",
        LIMITS,
        scratch=other,
    )

    assert second.reference == first.reference
    tree = box.tree(first)
    answers = tree[".copier-answers.yml"].content.decode()
    assert "_src_path: files/base\n" in answers
    assert f"_commit: sha256:{digest}\n" in answers
    assert str(tmp_path) not in tree["all.txt"].content.decode()


def test_a_name_that_looks_like_a_repository_is_still_only_a_name(box: Box) -> None:
    name = f"git+file://{box.outside}"
    box.add(name, {"a.txt.jinja": "{{ _src_path }}"})

    tree = box.tree(box.render((name, {})))

    assert tree["a.txt"].content.decode() == name


def test_of_two_names_that_render_to_one_the_last_by_name_wins(box: Box) -> None:
    files = {f"{{# {n:02} #}}same.txt": f"{n:02}" for n in range(20)}

    assert box.files(files)["same.txt"].content == b"19"


@pytest.mark.parametrize("count", [1_000, pytest.param(10_000, marks=pytest.mark.soak)])
def test_many_small_files_are_no_trouble(box: Box, count: int) -> None:
    box.limits = replace(LIMITS, files=count + 100)
    looped = f"{{% yield n from range({count}) %}}part-{{{{ n }}}}.txt{{% endyield %}}.jinja"

    assert len(box.files({looped: "{{ n }}"})) == count


def test_a_question_with_choices_takes_what_it_offers_and_nothing_else(box: Box) -> None:
    question = (
        "size: {type: int, choices: {small: 1, large: 2}, default: 2}\n"
        "word: {type: str, choices: {so: {value: x, validator: not now}, or: null}, default: or}\n"
    )
    box.add("files/base", {"copier.yml": question, "a.txt.jinja": "{{ size }} {{ word }}"})

    assert box.tree(box.render(("files/base", {})))["a.txt"].content == b"2 or"
    for data, says in (({"size": 3}, "size"), ({"word": "x"}, "not now")):
        with pytest.raises(RenderFailedError, match=says) as caught:
            box.render(("files/base", data))
        assert_clean(box, caught.value)


def test_a_variable_nobody_gave_is_empty_unless_the_template_is_strict(box: Box) -> None:
    assert box.files({"a.txt.jinja": "[{{ nobody }}]"})["a.txt"].content == b"[]"

    strict = {
        "copier.yml": "_envops: {undefined: jinja2.StrictUndefined}\n",
        "a.txt.jinja": "fine\n{{ nobody }}",
    }
    error = box.refusal(strict)
    assert isinstance(error, RenderFailedError)
    assert str(error) == "files/base/a.txt.jinja:2: 'nobody' is undefined"


def test_two_renders_at_once_do_not_meet(box: Box) -> None:
    box.add("files/base", {"a.txt.jinja": "{{ name }}"})
    found: dict[str, bytes] = {}

    def render_one(name: str) -> None:
        found[name] = box.tree(box.render(("files/base", {"name": name})))["a.txt"].content

    threads = [threading.Thread(target=render_one, args=(name,)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert found == {"one": b"one", "two": b"two"}


# --- what is wrong, and whose line it is


@pytest.mark.parametrize(
    ("files", "data", "says"),
    [
        ({"d/a.jinja": "ok\n{% if %}\n"}, {}, "files/base/d/a.jinja:2: Expected an expression"),
        ({"copier.yml": "- 1\n"}, {}, "files/base/copier.yml: it must be a mapping"),
        ({"copier.yml": "n: {type: int}\n"}, {"n": "x"}, "question 'n': invalid literal"),
    ],
)
def test_a_mistake_is_reported_in_one_line_with_its_place(
    box: Box, files: Source, data: Mapping[str, Any], says: str
) -> None:
    error = box.refusal(files, data)

    assert isinstance(error, RenderFailedError)
    assert says in str(error)
    assert_clean(box, error)


def test_a_source_that_is_missing_damaged_or_anothers_is_not_rendered(box: Box) -> None:
    digest = box.add("files/base", {"a.txt": "a"})
    with pytest.raises(RenderFailedError, match="no source 'files/none'"):
        box.render(("files/none", {}))
    with pytest.raises(ArtifactNotFoundError):
        box.render(("files/base", {}), tenant="other")
    [body] = [path for path in (box.root / "artifacts").rglob(digest) if path.is_file()]
    body.chmod(0o644)
    body.write_bytes(body.read_bytes().replace(b"a.txt", b"b.txt"))
    with pytest.raises(CorruptArtifactError, match=digest[:12]):
        box.render(("files/base", {}))


def test_a_scratch_folder_that_is_not_there_is_named(box: Box) -> None:
    box.add("files/base", {"a.txt": "a"})
    with pytest.raises(PermanentError, match="/nowhere"):
        render(
            RenderOrder((Layer("files/base", {}),)),
            box.sources,
            box.storage,
            "acme",
            LIMITS,
            scratch=Path("/nowhere"),
        )


# --- what is hostile


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"a.jinja": "{{ cycler.__init__.__globals__.os.popen('id') }}"}, "a.jinja:1: access to"),
        ({"a.jinja": "{{ '/etc/*'|fileglob }}"}, "a.jinja:1: the filter 'fileglob'"),
        ({"copier.yml": "to: /etc/evil\n", "{{ to }}": ""}, "/etc/evil"),
        ({"copier.yml": "to: ..\n", "{{ to }}/evil.txt": ""}, '".." is forbidden'),
        ({"copier.yml": "to: ../../evil\n", "{{ to }}": ""}, "../../evil"),
        ({"copier.yml": "_answers_file: ../evil.yml\n", **ANSWERS}, "../evil.yml"),
        ({"copier.yml": "_answers_file: /etc/evil\n", **ANSWERS}, '"/etc/evil" is forbidden'),
        ({"copier.yml": "_subdirectory: ../..\n"}, "../.."),
        ({"copier.yml": "_tasks: [touch evil]\n"}, "copier.yml asks for _tasks"),
        ({"copier.yml": "_jinja_extensions: [os.path]\n"}, "copier.yml asks for _jinja_extensions"),
        ({"copier.yml": "x: !include ../../../*\n"}, "outside"),
        (
            {
                "copier.yml": "_external_data: {d: ../../../../../etc/passwd}\n",
                "a.jinja": "{{ _external_data.d }}",
            },
            "a.jinja:1: ",
        ),
        ({"copier.yml": "to: .git/hooks\n_exclude: []\n", "{{ to }}/pre-commit": ""}, "'.git"),
        ({"sub/{{ '.GIT' }}/config": ""}, "sub/.GIT"),
        ({"copier.yml": 'to: "a\\nb"\n', "{{ to }}.txt": ""}, r"'a\nb.txt'"),
    ],
)
def test_a_template_that_reaches_out_of_its_box_is_refused(
    box: Box, files: Source, says: str
) -> None:
    error = box.refusal(files)

    assert isinstance(error, HostileTemplateError)
    assert says in str(error)
    assert_clean(box, error)


def test_an_include_of_a_file_outside_is_refused(box: Box) -> None:
    for name in (str(box.outside / "secret.txt"), "../../outside/secret.txt"):
        error = box.refusal({"a.jinja": f"{{% include '{name}' %}}"})
        assert isinstance(error, RenderFailedError | HostileTemplateError)
        assert "a.jinja:1" in str(error)
        assert "a secret" not in str(error)


def a_tar(*entries: tuple[str, str | None]) -> bytes:
    """A tar that ``pack_folder`` would never write: names, and targets of links, as given."""
    with io.BytesIO() as body:
        with tarfile.open(fileobj=body, mode="w") as tar:
            for name, target in entries:
                entry = tarfile.TarInfo(name)
                if target is not None:
                    entry.type, entry.linkname = tarfile.SYMTYPE, target
                tar.addfile(entry)
        return body.getvalue()


def test_a_tree_with_a_secret_is_not_even_kept(box: Box) -> None:
    key = "AKIA" + "Q3EGRWJZ7N5TMC2X"
    source = {"b/settings.py.jinja": "one = 1\nkey = '{{ key }}'\n", "a.txt": "hello"}
    error = box.refusal(source, {"key": key})
    assert isinstance(error, SecretLeakError)
    assert "b/settings.py:2: AWS Access Key" in str(error)
    assert key not in error.explain()
    assert error.secrets == (key,)
    assert files_with(box.root / "artifacts", key) == set()
    source["b/settings.py.jinja"] = "key = '{{ key }}'  # pragma: allowlist secret\n"
    assert key in box.files(source, {"key": key})["b/settings.py"].content.decode()


@pytest.mark.parametrize(
    "entries",
    [
        [("link", "/etc/passwd")],
        [("link", "../../outside/secret.txt")],
        [("../evil.txt", None)],
        [("/etc/evil.txt", None)],
        [(".git/config", None)],
        [("a", "."), ("a/b", None)],
        # Each link's text stays inside; followed one through the other they leave.
        [("deep/up", ".."), ("link", "deep/up/../outside"), ("link/evil.txt", None)],
    ],
)
def test_a_packed_source_that_would_unpack_outside_is_refused(
    box: Box, entries: list[tuple[str, str | None]]
) -> None:
    box.put("files/base", a_tar(*entries))

    with pytest.raises(HostileTemplateError):
        box.render(("files/base", {}))


def test_links_that_leave_by_way_of_other_links_are_not_packed(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/up").symlink_to("..")
    (tmp_path / "link").symlink_to("deep/up/../../outside/secret.txt")

    with pytest.raises(HostileTemplateError, match="link"), io.BytesIO() as body:
        pack_folder(tmp_path, body)


def test_links_that_go_round_and_round_end_the_render(box: Box) -> None:
    box.add("files/base", {"d/a.txt": ""}, links={"d/up": "..", "d/again": ".."})
    with pytest.raises(RenderLimitError, match=r"64 folders|200 files"):
        box.render(("files/base", {}))
    box.add("files/base", {}, links={"round": "round"})
    with pytest.raises(RenderFailedError, match=r"files/base: .*[Ll]oop"):
        box.render(("files/base", {}))


def test_a_link_whose_target_is_rendered_cannot_point_outside(box: Box) -> None:
    with pytest.raises(HostileTemplateError, match="link"):
        box.files(
            {"copier.yml": f"_preserve_symlinks: true\nto: {box.outside}/secret.txt\n"},
            links={"link.jinja": "{{ to }}"},
        )


# --- what takes too much


@pytest.mark.parametrize(
    ("files", "limits", "says"),
    [
        (
            {
                "a.jinja": "{% for a in range(99999) %}{% for b in range(99999) %}"
                + "{% endfor %}" * 2
            },
            replace(LIMITS, cpu=timedelta(seconds=1)),
            "0:00:01 of CPU time",
        ),
        (
            {"a.jinja": "{{ 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaab'|regex_search('(a+)+$') }}"},
            replace(LIMITS, wall=timedelta(seconds=1)),
            "0:00:01 of wall time",
        ),
        ({"a.jinja": "{{ 'x' * 10 ** 10 }}"}, LIMITS, "a.jinja:1: .*bytes of memory"),
        ({"a.jinja": "{{ 'x' * 5000000 }}"}, LIMITS, "a.jinja: .*4194304 bytes in one file"),
        (
            {"{% yield n from range(99) %}{{ n }}{% endyield %}.jinja": "{{ 'x' * 1000000 }}"},
            LIMITS,
            "8388608 bytes of files",
        ),
        (
            {"{% yield n from range(99999) %}{{ n }}{% endyield %}.jinja": ""},
            LIMITS,
            "200 files and folders",
        ),
        (
            {"copier.yml": "to: d/\n", "{{ to * 500 }}b.txt": ""},
            LIMITS,
            "64 folders inside each other",
        ),
        (
            {
                "copier.yml": "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
                + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10))
                + "_exclude: *a9\n",
                "a.jinja": "{{ a9 }}",
            },
            replace(LIMITS, cpu=timedelta(seconds=1)),
            "of CPU time|of memory",
        ),
    ],
)
def test_a_render_that_takes_too_much_is_stopped(
    box: Box, files: Source, limits: RenderLimits, says: str
) -> None:
    box.limits = limits
    box.add("files/base", files)

    with pytest.raises(RenderLimitError, match=says) as caught:
        box.render(("files/base", {}))

    assert caught.value.hint
    assert_clean(box, caught.value)


def test_a_source_that_is_too_large_is_not_even_unpacked(box: Box) -> None:
    box.add("files/base", {"large.bin": bytes(10 * MIB)})
    with pytest.raises(RenderLimitError, match=r"the source: .*8388608 bytes"):
        box.render(("files/base", {}))
    box.add("files/base", {f"{n}.txt": "" for n in range(201)})
    with pytest.raises(RenderLimitError, match=r"the source: .*200 files"):
        box.render(("files/base", {}))
