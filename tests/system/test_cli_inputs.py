"""Inputs as people type them become the values that the template's schema asks for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cli.inputs import gather_inputs, parse_value, read_inputs
from factory_runtime.domain.errors import InputError

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "choice": {"enum": ["1", "2"]},
        "port": {"type": "integer"},
        "share": {"type": "number"},
        "public": {"type": "boolean"},
        "entities": {"type": "array", "items": {"type": "string"}},
        "ports": {"type": "array", "items": {"type": "integer"}},
        "limits": {"type": "object", "properties": {"cpu": {"type": "integer"}}},
        "owner": {"type": ["integer", "null"]},
        "a.b": {"type": "integer"},
    },
}


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("name=123", {"name": "123"}),
        ("name=true", {"name": "true"}),
        ("name=a=b", {"name": "a=b"}),
        ("name=", {"name": ""}),
        ("choice=1", {"choice": "1"}),
        ("port=8080", {"port": 8080}),
        ("share=2", {"share": 2}),
        ("share=0.5", {"share": 0.5}),
        ("public=yes", {"public": True}),
        ("public=False", {"public": False}),
        ("entities=order, customer", {"entities": ["order", "customer"]}),
        ('entities=["a,b"]', {"entities": ["a,b"]}),
        ("entities=", {"entities": []}),
        ("ports=1,2", {"ports": [1, 2]}),
        ("limits.cpu=2", {"limits": {"cpu": 2}}),
        ('limits={"cpu": 3}', {"limits": {"cpu": 3}}),
        ("owner=null", {"owner": None}),
        ("a.b=7", {"a.b": 7}),
        ("unheard=7", {"unheard": 7}),
    ],
)
def test_a_set_value_gets_the_type_that_the_schema_asks_for(
    setting: str, value: dict[str, Any]
) -> None:
    assert gather_inputs([setting], None, SCHEMA) == value


@pytest.mark.parametrize(("name", "text"), [("port", "80a"), ("public", "perhaps"), ("port", "٣")])
def test_a_value_of_the_wrong_type_stays_text_for_the_schema_to_refuse(
    name: str, text: str
) -> None:
    assert parse_value(text, SCHEMA["properties"][name], name) == text


def test_a_repeated_set_of_an_array_adds_to_it() -> None:
    given = ["entities=a", "entities=b,c"]
    assert gather_inputs(given, None, SCHEMA) == {"entities": ["a", "b", "c"]}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["name"], "there is no value"),
        (["=x"], "there is no value"),
        (["name=a", "name=b"], "name is set twice"),
        (["limits={"], "limits is not JSON"),
        (["port=1", "port.inner=2"], "port has a value of its own"),
        (["limits=" + "[" * 100_000], "limits"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(settings: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        gather_inputs(settings, None, SCHEMA)


def test_what_is_set_wins_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "inputs.yaml"
    file.write_text("name: from-file\nport: 1\nlimits: {cpu: 1, memory: 2}\n")
    given = gather_inputs(["name=set", "limits.cpu=9"], str(file), SCHEMA)
    assert given == {"name": "set", "port": 1, "limits": {"cpu": 9, "memory": 2}}


def test_json_is_read_as_well_as_yaml(tmp_path: Path) -> None:
    file = tmp_path / "inputs.json"
    file.write_text('{"name": "yes", "entities": ["on", "012"]}')
    assert read_inputs(str(file)) == {"name": "yes", "entities": ["on", "012"]}


@pytest.mark.parametrize(
    "text", ["- a list", "just text", "", "a: [", "a: &x [*x]", "a: !!python/object:os.system x"]
)
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "inputs.yaml"
    file.write_text(text)
    with pytest.raises(InputError, match=r"inputs\.yaml"):
        read_inputs(str(file))


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_inputs(str(tmp_path / "nowhere.yaml"))
