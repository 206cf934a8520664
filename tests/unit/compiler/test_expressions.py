from __future__ import annotations

from typing import Any

import pytest

from factory_runtime.compiler.expressions import evaluate, scope_name
from factory_runtime.compiler.syntax import parse_text
from factory_runtime.compiler.values import MAX_RESULT
from factory_runtime.domain.errors import ExpressionError

SCOPE: dict[str, Any] = {
    "inputs": {
        "name": "orders",
        "digits": "123",
        "count": 3,
        "ratio": 1.5,
        "on": True,
        "nothing": None,
        "items": ["b", "a"],
        "keys": [{"name": "x", "n": 2}, {"name": "y", "n": 1}],
        "nested": {"name": {"first": "ada"}},
        "evil": "${{ run.id }}",
        "big": "x" * 700_000,
    },
    "steps": {"generate_repo": {"outputs": {"url": "https://git/orders"}}},
    "item": "order",
    "run": {"id": "run-1"},
}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("plain", "plain"),
        ("${{ inputs.count }}", 3),
        ("${{ inputs.digits }}", "123"),
        ("${{ inputs.nothing }}", None),
        ("${{ inputs.nested }}", {"name": {"first": "ada"}}),
        ("${{ inputs.on }}", True),
        ("${{inputs.name}}", "orders"),
        (" ${{ inputs.name }}", " orders"),
        ("n=${{ inputs.count }}", "n=3"),
        ("${{ inputs.on }}/${{ inputs.nothing }}", "true/null"),
        ("x ${{ inputs.items }}", 'x ["b","a"]'),
        ("${{ '}}' }}", "}}"),
        ("${{ {'a': {'b': 1}}}}", {"a": {"b": 1}}),
        ("$${{ inputs.name }}", "${{ inputs.name }}"),
        ("a $${{ b ${{ inputs.name }}", "a ${{ b orders"),
        ("{{ inputs.name }} {% if %} {# c #}", "{{ inputs.name }} {% if %} {# c #}"),
        ("${{ 'a' }}{% raw %}", "a{% raw %}"),
        ("${{ 'ä' ~ 1 }}\n", "ä1\n"),
    ],
)
def test_a_value_that_is_one_expression_keeps_its_type_and_becomes_text_in_other_text(
    text: str, value: Any
):
    assert evaluate(text, SCOPE) == value
    assert type(evaluate(text, SCOPE)) is type(value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("inputs.name|upper|replace('R', '-')", "O-DE-S"),
        ("inputs.name|default('x')", "orders"),
        ("inputs.nope|default('x')", "x"),
        ("inputs.nope.deeper|default('x')", "x"),
        ("inputs.nope|default", ""),
        ("inputs.nothing|default('x')", None),
        ("inputs.nothing|default('x', true)", "x"),
        ("inputs.items|sort|join(', ')", "a, b"),
        ("inputs.keys|sort(attribute='n')|map(attribute='name')|join", "yx"),
        ("inputs.keys|map(attribute='nope', default='-')|join", "--"),
        ("inputs.items|map('upper')|list", ["B", "A"]),
        ("inputs.items|first ~ inputs.items|last", "ba"),
        ("[3, 1, 2]|min", 1),
        ("[3, 1, 2]|max", 3),
        ("inputs.keys|max(attribute='n')", {"name": "x", "n": 2}),
        ("[1, 2.5]|sum", 3.5),
        ("2.55|round(1, 'floor')", 2.5),
        ("-3|abs", 3),
        ("['a', 'A', 'b']|unique", ["a", "b"]),
        ("[1, 2, 3, 4]|select('even')", [2, 4]),
        ("[1, 2, 3, 4]|reject('gt', 2)", [1, 2]),
        ("[0, 1, '']|select", [1]),
        ("{'a': 1}|items", [["a", 1]]),
        ("{'b': 1, 'a': [true, none]}|tojson", '{"a":[true,null],"b":1}'),
        ("'a-b'|split('-')", ["a", "b"]),
        ("' a '|trim", "a"),
        ("'one two'|title", "One Two"),
        ("'one TWO'|capitalize", "One two"),
        ("inputs.nested|length", 1),
        ("'12'|int + 1", 13),
        ("'x'|int(7)", 7),
        ("'1.5'|float", 1.5),
        ("5|string", "5"),
        ("inputs.count * 2 - 1 / 2", 5.5),
        ("7 // 2 + 7 % 2 + 2 ** 3", 12),
        ("'a' + 'b'", "ab"),
        ("[1] + [2]", [1, 2]),
        ("-inputs.count", -3),
        ("inputs.count > 2 and inputs.name != 'x'", True),
        ("1 < 2 < 2", False),
        ("'rd' in inputs.name and 'z' not in inputs.items", True),
        ("not inputs.on or false", False),
        ("'y' if inputs.on else 'n'", "y"),
        ("inputs.nope is defined", False),
        ("inputs.nope is undefined", True),
        ("inputs.nothing is none and inputs.count is number", True),
        ("inputs.items[0] ~ inputs['items'][-1]", "ba"),
        ("inputs.nested.name.first", "ada"),
        ("inputs.nested['name']['first']", "ada"),
        ("(1, 'a')", [1, "a"]),
        ("steps.generate_repo.outputs.url", "https://git/orders"),
        ("steps['generate-repo'].outputs['url']", "https://git/orders"),
        ("item ~ run.id", "orderrun-1"),
    ],
)
def test_the_language_of_expressions(text: str, value: Any):
    assert evaluate(f"${{{{ {text} }}}}", SCOPE) == value


def test_an_input_called_like_a_method_is_the_input():
    assert evaluate("${{ inputs.items }}", SCOPE) == ["b", "a"]
    assert evaluate("${{ inputs.keys }}", SCOPE) == SCOPE["inputs"]["keys"]


def test_text_that_came_in_as_an_input_is_never_read_as_an_expression():
    assert evaluate("${{ inputs.evil }}", SCOPE) == "${{ run.id }}"
    assert evaluate("a ${{ inputs.evil }}", SCOPE) == "a ${{ run.id }}"
    assert evaluate({"a": ["${{ [inputs.evil] }}"]}, SCOPE) == {"a": [["${{ run.id }}"]]}


def test_a_tree_is_resolved_all_the_way_down_and_its_keys_stay():
    tree = {"a": [{"b": "${{ inputs.count }}"}, 1, None, True], "${{ x }}": "y"}
    assert evaluate(tree, SCOPE) == {"a": [{"b": 3}, 1, None, True], "${{ x }}": "y"}


@pytest.mark.parametrize(
    "text",
    [
        "inputs.nope",
        "inputs.nope|upper",
        "inputs.name.upper",
        "inputs.nested.keys",
        "inputs.items.append",
        "inputs.items[7]",
        "inputs.items['append']",
        "inputs.nope is none",
        "inputs.nope or 'x'",
        "[inputs.nope]",
        "event.x",
    ],
)
def test_what_is_undefined_is_named_with_its_expression(text: str):
    with pytest.raises(ExpressionError, match="is undefined in") as caught:
        evaluate(f"${{{{ {text} }}}}", SCOPE)
    assert text in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "inputs.name.upper()",
        "range(3)",
        "''.__class__",
        "''.__class__.__mro__",
        "inputs.__class__",
        "inputs|attr('__class__')",
        "inputs.name|format('x')",
        "inputs|pprint",
        "self",
        "lipsum",
        "cycler",
        "loop.index",
        "foo",
        "steps",
        "steps|length",
        "steps[inputs.name].outputs",
        "steps.generate_repo.status",
        "inputs.name[:2]",
        "inputs.a b",
        "a = 1",
        "1 if true",
        "1 +",
        "'open",
        '"open',
        "inputs.name is frobbed",
        "inputs.name|default(*inputs.items)",
        "inputs.name|default(**inputs)",
        "99999999999999999999",
        "1e999",
        "9" * 4000,
        "_('x')",
        "%}{% if",
        "'\\ud'",
        "[" * 1000 + "]" * 1000,
        "(" * 4000,
        "not " * 500 + "1",
        "-" * 3000 + "1",
        "1" + "+1" * 1000,
    ],
)
def test_what_no_expression_may_do_is_refused_before_it_is_evaluated(text: str):
    with pytest.raises(ExpressionError):
        parse_text(f"${{{{ {text} }}}}")


def test_a_call_is_refused_with_the_way_out():
    with pytest.raises(ExpressionError) as caught:
        parse_text("${{ inputs.name.upper() }}")
    assert "filter" in str(caught.value.hint)


@pytest.mark.parametrize("text", ["${{ inputs.name", "${{ {'a': 1 }}", "a ${{"])
def test_an_expression_that_does_not_end_says_how_to_write_it_plainly(text: str):
    with pytest.raises(ExpressionError, match="does not end") as caught:
        parse_text(text)
    assert "$${{" in str(caught.value.hint)


def test_an_expression_is_at_most_4096_characters():
    with pytest.raises(ExpressionError, match="4096"):
        parse_text("${{ '" + "x" * 5000 + "' }}")


@pytest.mark.parametrize(
    "text",
    [
        "9 ** 9 ** 9",
        "2 ** 63",
        "2 ** 65",
        "2.0 ** 64 ** 64",
        "inputs|map('attr', '__class__')",
        "(-8) ** 0.5",
        "9223372036854775807 + 1",
        "1e308 * 10",
        "'a' * 999999999",
        "[0] * 999999999",
        "'%999999999d' % 1",
        "true + 1",
        "1 / 0",
        "0 ** -1",
        "1.5|round(-999999999)",
        "'1' + 1",
        "'a' < 1",
        "[1, 'a']|sort",
        "[]|first",
        "[]|max",
        "1|length",
        "1|join",
        "'a'|items",
        "'a'|replace(1, 2)",
        "'a'|split('')",
        "'a'|select('frobbed')",
        "'a'|map('map', 'map')",
        "'a'|map('nope')",
        "'a'|upper(1)",
        "{1: 2}",
        "1 in 1",
        "1 in 'a'",
        "inputs.keys|sum(attribute='name')",
    ],
)
def test_an_impossible_operation_is_an_expression_error(text: str):
    with pytest.raises(ExpressionError):
        evaluate(f"${{{{ {text} }}}}", SCOPE)


@pytest.mark.parametrize(
    "text",
    [
        "inputs.big + inputs.big",
        "inputs.big ~ inputs.big",
        "inputs.big|replace('x', 'yyyy')",
        "'aaaa'|replace('', inputs.big)",
        "inputs.big|upper|lower",
        "[inputs.big, inputs.big]|join",
        "[1, 2, 3]|join(inputs.big)",
        "[inputs, inputs]|tojson",
        "[inputs, inputs] ~ ''",
        "inputs.big|list|list",
        "[inputs.big, inputs.big]|map('upper')",
        "[inputs.big, inputs.big]|unique",
    ],
)
def test_a_result_never_grows_beyond_its_bound(text: str):
    with pytest.raises(ExpressionError, match=str(MAX_RESULT)):
        evaluate(f"${{{{ {text} }}}}", SCOPE)


def test_the_bound_holds_for_a_whole_tree():
    with pytest.raises(ExpressionError, match=str(MAX_RESULT)):
        evaluate(["${{ inputs.big|upper }}"] * 2, SCOPE)


def test_what_an_expression_reads_is_known_without_values():
    text = parse_text(
        "${{ steps.a.outputs.b.c ~ steps['d-e'].outputs['f'] }} ${{ inputs.g[inputs['h']] }}"
    )
    assert {step for one in text.expressions for step in one.steps} == {"a", "d-e"}
    assert {name for one in text.expressions for name in one.inputs} == {"g", "h"}
    assert {name for one in text.expressions for name in one.names} == {"steps", "inputs"}


def test_a_step_is_spelled_with_underscores_in_expressions():
    assert scope_name("generate-repo") == "generate_repo"


def test_a_deep_stack_above_does_not_break_a_good_expression_into_a_crash():
    def deeper(levels: int) -> Any:
        return evaluate("${{ inputs.count }}", SCOPE) if levels == 0 else deeper(levels - 1)

    assert deeper(500) == 3
