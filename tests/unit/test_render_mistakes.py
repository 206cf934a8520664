"""What a template's author is told. All cases run in one child, which is hardened as a render is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from factory_runtime.jobs.render.request import RenderProblem

_CHILD = """
import json, sys
from pathlib import Path
from factory_runtime.jobs.render.boxed import Budget, boxed_worker, harden
from factory_runtime.jobs.render.explain import explain

harden()
problems = {}
for name, case in json.load(sys.stdin).items():
    layer = {"name": "files/base", "digest": "0" * 64, **case}
    out = Path(case["folder"] + ".out")
    out.mkdir()
    try:
        boxed_worker(layer, out, Budget(out, 10**6, 100)).run_copy()
    except Exception as error:
        problems[name] = explain(error, layer, out)
print(json.dumps(problems))
"""

STRICT = "_envops: {undefined: jinja2.StrictUndefined}\n"
DEEP = 2000

# name → (file → content, data, place, what the message says)
CASES: dict[str, tuple[dict[str, str | bytes], dict[str, Any], str, str]] = {
    "syntax": ({"d/a.jinja": "x\n{% if %}\n"}, {}, "/d/a.jinja:2", "Expected an expression"),
    "unclosed": ({"a.jinja": "x\n{% if 1 %}\n"}, {}, "/a.jinja:", "Unexpected end of template"),
    "python": ({"a.jinja": "\n\n{{ 1 / 0 }}"}, {}, "/a.jinja:3", "ZeroDivisionError"),
    "included": (
        {"a.jinja": "{% include 'b.txt' %}", "b.txt": "\n{{ 1 / 0 }}"},
        {},
        "/b.txt:2",
        "ZeroDivisionError",
    ),
    "no such include": ({"a.jinja": "\n{% include 'b' %}"}, {}, "/a.jinja:2", "'b' not found"),
    "undefined": ({"a.jinja": "{{ x.y.z }}"}, {}, "/a.jinja:1", "'x' is undefined"),
    "strict": (
        {"copier.yml": STRICT, "a.jinja": "\n{{ x }}"},
        {},
        "/a.jinja:2",
        "'x' is undefined",
    ),
    "in a name": ({"{{ x.y.z }}.txt": ""}, {}, "", "path {{ x.y.z }}.txt: 'x' is undefined"),
    "not utf-8": ({"a.jinja": b"\xff\xfe"}, {}, "/a.jinja", "not UTF-8"),
    "generator": ({"a.jinja": "{{ [1]|map('string') }}"}, {}, "/a.jinja:1", "has no text"),
    "no such filter": ({"a.jinja": "{{ 1|nofilter }}"}, {}, "/a.jinja:1", "'nofilter'"),
    "random": ({"a.jinja": "{{ [1]|random }}"}, {}, "/a.jinja:1", "the filter 'random'"),
    "shuffle": ({"a.jinja": "{{ [1]|shuffle }}"}, {}, "/a.jinja:1", "the filter 'shuffle'"),
    "time": ({"a.jinja": "{{ '%Y'|strftime }}"}, {}, "/a.jinja:1", "the filter 'strftime'"),
    "now": ({"a.jinja": "{{ now() }}"}, {}, "/a.jinja:1", "'now' is undefined"),
    "secret": ({"a.jinja": "{{ make_secret() }}"}, {}, "/a.jinja:1", "'make_secret' is undefined"),
    "lipsum": ({"a.jinja": "{{ lipsum() }}"}, {}, "/a.jinja:1", "'lipsum' is undefined"),
    "escape codes": (
        {"copier.yml": "n: {type: int}\n"},
        {"n": "\x1b[2Jx\n\u202e"},
        "question 'n'",
        "invalid literal",
    ),
    "a codes' line": (
        {"copier.yml": 'n: {type: str, validator: "\\e[2J{{ n }}"}\n'},
        {"n": "a\nb"},
        "question 'n'",
        "Validation error for question 'n': �[2Ja b",
    ),
    "deep": ({"a.jinja": f"{{{{ {'(' * DEEP}1{')' * DEEP} }}}}"}, {}, "", "nested too deeply"),
    "yaml": ({"copier.yml": "a: [1\nb: 2\n"}, {}, "/copier.yml:2", "not YAML: expected ','"),
    "yaml tag": ({"copier.yml": "a: !!python/name:os.system\n"}, {}, "/copier.yml:1", "not YAML"),
    "yaml bytes": ({"copier.yml": b"\x00\x01"}, {}, "/copier.yml", "not YAML"),
    "a list": ({"copier.yml": "- 1\n- 2\n"}, {}, "/copier.yml", "a mapping of settings"),
    "a number": ({"copier.yml": "12\n"}, {}, "/copier.yml", "a mapping of settings"),
    "a key": ({"copier.yml": "1: 2\n"}, {}, "/copier.yml", "a mapping of settings"),
    "no list": ({"copier.yml": "_exclude: 5\n"}, {}, "/copier.yml", "_exclude, _jinja"),
    "no text": ({"copier.yml": "_templates_suffix: 5\n"}, {}, "/copier.yml", "must be a text"),
    "no path": ({"copier.yml": "_subdirectory: [a]\n"}, {}, "/copier.yml", "must be a path"),
    "when": (
        {"copier.yml": "n: {type: str, when: '{% if %}'}\n"},
        {"n": "a"},
        "/copier.yml, question 'n'",
        "Expected an expression",
    ),
    "yaml in a template": (
        {"a.jinja": "\n{{ '!!python/name:os.system'|from_yaml }}"},
        {},
        "/a.jinja:2",
        "could not determine a constructor",
    ),
    "two": ({"copier.yml": "a: 1\n", "copier.yaml": "a: 1\n"}, {}, "/copier.yml", "keep one"),
    "envops": (
        {"copier.yml": "_envops: {finalize: x}\n"},
        {},
        "/copier.yml",
        "_envops: finalize cannot",
    ),
    "version": (
        {"copier.yml": '_min_copier_version: "99"\n'},
        {},
        "/copier.yml",
        "Copier version >= 99",
    ),
    "required": ({"copier.yml": "n: {type: str}\n"}, {}, "'n'", 'Question "n" is required'),
    "type": ({"copier.yml": "n: {type: int}\n"}, {"n": "x"}, "question 'n'", "invalid literal"),
    "null": ({"copier.yml": "n: {type: int}\n"}, {"n": None}, "question 'n'", "Invalid answer"),
    "choice": (
        {"copier.yml": "n: {type: str, choices: [a, b]}\n"},
        {"n": "c"},
        "question 'n'",
        "Invalid choice for 'n': 'c' is not in ['a', 'b']",
    ),
    "validator": (
        {"copier.yml": "n: {type: str, validator: '{% if n != 1 %}one only{% endif %}'}\n"},
        {"n": "2"},
        "question 'n'",
        "Validation error for question 'n': one only",
    ),
    "no such type": ({"copier.yml": "n: {type: text}\n"}, {"n": 1}, "'n'", 'type "text"'),
}

# name → (file → content, place, what the message says)
ATTACKS: dict[str, tuple[dict[str, str | bytes], str, str]] = {
    "class": ({"a.jinja": "\n{{ ''.__class__ }}"}, "/a.jinja:2", "'__class__' of 'str'"),
    "mro": ({"a.jinja": "{{ ''|attr('__class__')|attr('__mro__') }}"}, ":1", "'__class__'"),
    "mapped": ({"a.jinja": "{{ [1]|map(attribute='__class__')|list }}"}, ":1", "'__class__'"),
    "grouped": ({"a.jinja": "{{ [1]|groupby('__class__') }}"}, ":1", "'__class__'"),
    "format": ({"a.jinja": "{{ '{0.__class__}'.format(1) }}"}, ":1", "'__class__'"),
    "item": ({"a.jinja": "{{ cycler['__init__'] }}"}, ":1", "'__init__'"),
    "method": ({"a.jinja": "{{ [].append.__self__ }}"}, ":1", "'__self__'"),
    "self": ({"a.jinja": "{{ self._TemplateReference__context }}"}, ":1", "'_Template"),
    "conf": ({"a.jinja": "{{ _copier_conf._pending }}"}, ":1", "'_pending'"),
    "defined": ({"a.jinja": "{{ ().__class__ is defined }}"}, ":1", "'__class__'"),
    "in a name": ({"{{ ().__class__ }}.txt": ""}, "", "'__class__' of 'tuple'"),
    "in a default": ({"copier.yml": "a: '{{ ().__class__ }}'\n"}, "question 'a'", "'__class__'"),
    "fileglob": ({"a.jinja": "{{ '/*'|fileglob }}"}, "/a.jinja:1", "the filter 'fileglob'"),
    "environment": ({"a.jinja": "{{ '$HOME'|expandvars }}"}, ":1", "the filter 'expandvars'"),
    "home": ({"a.jinja": "{{ '~'|expanduser }}"}, ":1", "the filter 'expanduser'"),
    "real": ({"a.jinja": "{{ '.'|realpath }}"}, ":1", "the filter 'realpath'"),
    "relative": ({"a.jinja": "{{ '.'|relpath }}"}, ":1", "the filter 'relpath'"),
    "tasks": ({"copier.yml": "_tasks: [touch x]\n"}, "", "copier.yml asks for _tasks"),
    "both": (
        {"copier.yml": "_tasks: [touch x]\n_jinja_extensions: [os.path]\n"},
        "",
        "copier.yml asks for _jinja_extensions, _tasks",
    ),
}


@pytest.fixture(scope="module")
def problems(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, RenderProblem]]:
    root = tmp_path_factory.mktemp("mistakes")
    cases: dict[str, dict[str, Any]] = {}
    attacks = {name: (files, dict[str, Any]()) for name, (files, _, _) in ATTACKS.items()}
    mistakes = {f"mistake {name}": (case[0], case[1]) for name, case in CASES.items()}
    for number, (name, (files, data)) in enumerate((attacks | mistakes).items()):
        folder = root / str(number)
        for path, content in files.items():
            place = folder / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content if isinstance(content, bytes) else content.encode())
        cases[name] = {"folder": str(folder), "data": data}
    answer = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _CHILD],
        input=json.dumps(cases),
        capture_output=True,
        text=True,
        check=True,
    )
    return root, json.loads(answer.stdout)


@pytest.mark.parametrize("name", CASES)
def test_a_mistake_is_explained_in_one_line_with_its_place(
    problems: tuple[Path, dict[str, RenderProblem]], name: str
) -> None:
    _, _, place, message = CASES[name]

    assert_explained(problems, f"mistake {name}", "failed", place, message)


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_told_from_a_mistake(
    problems: tuple[Path, dict[str, RenderProblem]], name: str
) -> None:
    _, place, message = ATTACKS[name]

    assert_explained(problems, name, "hostile", place, message)


def assert_explained(
    problems: tuple[Path, dict[str, RenderProblem]], name: str, kind: str, place: str, message: str
) -> None:
    root, explained = problems
    problem = explained[name]
    assert problem["kind"] == kind
    assert message in problem["message"]
    assert place in problem.get("place", "")
    assert problem.get("place", "").startswith("files/base")
    text = problem["message"] + problem.get("place", "")
    assert text.isprintable()
    assert str(root) not in text
