from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest

from factory_runtime.compiler.load import check_template, load_template
from factory_runtime.domain.errors import InvalidTemplateError
from factory_runtime.domain.run import Priority
from factory_runtime.domain.template import (
    CacheRule,
    OnFailure,
    RetryPolicy,
    Schedule,
    WebhookTrigger,
)
from tests.authoring import HEAD, JOB_TYPES, codes, loaded, problems, write_template

FULL = """
id: demo
version: 1.2.0-rc.1
title: Demo
description: All keys.
docs: https://docs.example.com/demo?all=1
inputs:
  type: object
  required: [name]
  properties: {name: {type: string}, entities: {type: array, items: {type: string}, default: []}}
defaults: {retry: {max_attempts: 4, delays: [1s]}, timeout: 3m}
deadline: 1h30m
steps:
  - name: make-it
    type: note
    with: {text: "${{ inputs.name }}"}
  - name: layer
    type: layer
    needs: [make-it]
    each: "${{ inputs.entities }}"
    when: "${{ item != 'x' }}"
    priority: high
    with: {source: files, data: {of: "${{ steps.make_it.outputs.text }}", item: "${{ item }}"}}
    retry: {max_attempts: 9, jitter: 0}
    timeout: 2h
    cache: {ttl: 30d}
    undo: delete-layer
    approval: {message: Go?, by: [ops], expires: 1d}
    on_failure: {fallback: spare}
  - {name: spare, type: note, cache: false, on_failure: continue, when: "${{ run.id != '' }}"}
outputs: {text: "${{ steps.make_it.outputs.text }}", run: "${{ run.id }}"}
triggers:
  webhook:
    source: github
    when: "${{ event.type == 'push' }}"
    map: {name: "${{ event.repository.name }}"}
  schedule: {cron: "0 6 * * 1-5", timezone: Europe/Berlin, inputs: {name: nightly}}
"""


@pytest.mark.parametrize(
    "docs",
    [
        "demo",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "https://ada:pw@example.com/",
        "https://a/ b",
    ],
)
def test_docs_are_an_address_of_the_web_without_a_password(tmp_path: Path, docs: str):
    (problem,) = problems(
        tmp_path, f"docs: '{docs}'\nsteps: [{{name: a, type: note, with: {{text: a}}}}]"
    )
    assert "docs of a template must be a web address" in str(problem)


def test_every_key_of_the_language_is_read(tmp_path: Path):
    template = loaded(tmp_path, FULL, head="")
    make, layer, spare = template.steps
    assert (template.id, template.version, template.title) == ("demo", "1.2.0-rc.1", "Demo")
    assert template.docs == "https://docs.example.com/demo?all=1"
    assert template.deadline == timedelta(hours=1, minutes=30)
    assert template.sources == {"files": tmp_path / "files"}
    assert template.outputs["run"] == "${{ run.id }}"
    assert template.triggers["schedule"]["timezone"] == "Europe/Berlin"
    nightly = Schedule("0 6 * * 1-5", None, "Europe/Berlin", {"name": "nightly"})
    assert template.schedule == nightly
    mapped = {"name": "${{ event.repository.name }}"}
    assert template.webhook == WebhookTrigger("github", "${{ event.type == 'push' }}", mapped)
    assert make.retry == RetryPolicy(4, (timedelta(seconds=1),), 0.3)
    assert make.timeout == timedelta(minutes=3)
    assert layer.retry == RetryPolicy(9, (timedelta(seconds=1),), 0.0)
    assert layer.timeout == timedelta(hours=2)
    assert layer.cache == CacheRule(ttl=timedelta(days=30))
    assert layer.priority is Priority.HIGH
    assert layer.on_failure == OnFailure("fallback", "spare")
    assert layer.each == "${{ inputs.entities }}"
    assert layer.undo == "delete-layer"
    assert layer.approval == {"message": "Go?", "by": ["ops"], "expires": "1d"}
    assert layer.reads == ("make-it",)
    assert spare.cache == CacheRule(enabled=False)
    assert spare.when == "${{ run.id != '' }}"


def test_a_schedule_may_be_an_interval(tmp_path: Path):
    template = loaded(
        tmp_path, "triggers: {schedule: {interval: 90s}}\nsteps: [{name: a, type: note}]"
    )
    assert template.schedule == Schedule(interval=timedelta(seconds=90))


def test_a_schedule_gives_all_that_a_run_needs(tmp_path: Path):
    text = """
        inputs: {{type: object, required: [n], properties: {{n: {{type: integer}}}}}}
        triggers: {{schedule: {{interval: 1h{more}}}}}
        steps: [{{name: a, type: note}}]
        """
    (missing,) = problems(tmp_path, text.format(more=""))
    assert (missing.code, missing.line) == ("missing-input", 4)
    (bad,) = problems(tmp_path, text.format(more=", inputs: {n: many}"))
    assert bad.code == "bad-input"
    assert problems(tmp_path, text.format(more=", inputs: {n: 3}")) == []


def test_an_unset_retry_is_the_job_types(tmp_path: Path):
    (step,) = loaded(tmp_path, "steps: [{name: a, type: note}]").steps
    assert (step.retry, step.timeout) == (None, None)


def test_a_partial_retry_takes_the_rest_from_the_job_type(tmp_path: Path):
    template = loaded(tmp_path, "steps: [{name: a, type: note, retry: {jitter: 0.5}}]")
    assert template.steps[0].retry == RetryPolicy(max_attempts=3, jitter=0.5)


def test_all_problems_come_at_once_in_order_with_their_places_and_hints(tmp_path: Path):
    text = """
        id: Demo!
        version: one
        titel: x
        inputs: {type: object, properties: {name: {type: strin}}}
        deadline: soon
        steps:
          - name: a
            type: nott
            with: {text: 1}
            timeout: later
          - name: a
            type: note
            needs: [b]
            with: {txt: hello, kind: fancy, number: "${{ inputs.name }}"}
            priority: hihg
          - name: c
            type: layer
            needs: [d]
            with: {source: fils}
          - name: d
            type: layer
            needs: [c]
            undo: delete-all
            with: {}
          - name: e
            type: note
            with: {text: "${{ steps.c.outputs.x }} ${{ nope }}"}
          - name: f
            type: note
            with: {text: "${{ steps.c.outputs.x }}"}
            retry: {max_attempts: 21, delays: [x], jitter: 2}
        """
    found = problems(tmp_path, text, head="")
    file = tmp_path / "template.yaml"
    assert [str(p).removeprefix(f"{file}:") for p in found] == [
        "1:5: bad-value id of a template must be a slug"
        " (lower case, digits, hyphens, dots, at most 63)",
        "2:10: bad-value version of a template must be a semantic version"
        " (like 1.0.0 or 2.1.0-rc.1)",
        "3:1: unknown-key a template has no key 'titel' (did you mean 'title'?)",
        "4:50: schema properties.name.type: 'strin' is not valid under any of the given schemas",
        "5:11: bad-value deadline of a template must be a duration"
        " (like 30s, 10m, 2h, 30d or 1h30m)",
        "8:11: unknown-job-type there is no job type 'nott' (did you mean 'note'?)",
        "10:14: bad-value timeout of a step must be a duration (like 30s, 10m, 2h, 30d or 1h30m)",
        "11:11: duplicate-step two steps are called 'a' (the first is in line 7)",
        "14:12: unknown-key with of note has no key 'txt' (did you mean 'text'?)",
        "14:30: bad-value with.kind: 'fancy' is not one of ['plain', 'rich']",
        "15:15: bad-value priority of a step must be one of high, normal, low"
        " (did you mean 'high'?)",
        "18:13: cycle steps need each other: c → d → c (break the circle)",
        "19:20: missing-source there is no folder 'fils' (did you mean 'files'?)",
        "23:11: unknown-undo layer offers no undo 'delete-all' (did you mean 'delete-layer'?)",
        "24:11: missing-key with of layer has no 'source'",
        "27:18: expression the name 'nope' is unknown in ${{ nope }}"
        " (there are inputs, steps, item, run, event; put text in quotes)",
        "31:27: bad-value max_attempts of retry must be a whole number from 1 to 20",
        "31:40: bad-value delays of retry must hold durations,"
        " like 30s, 10m, 2h, 30d or 1h30m only",
        "31:52: bad-value jitter of retry must be a number from 0 to 1",
    ]
    with pytest.raises(InvalidTemplateError) as caught:
        load_template(tmp_path, JOB_TYPES)
    assert list(caught.value.problems) == found


def test_a_problem_in_every_part_is_found_even_with_yaml_problems_beside_it(tmp_path: Path):
    text = """
        id: !!str demo
        version: 1.0.0
        version: 2.0.0
        steps:
          - {name: a, type: note, needs: [b], 7: x}
        """
    assert codes(tmp_path, text, head="") == [
        "yaml-tag",
        "duplicate-key",
        "unknown-need",
        "yaml-key",
    ]


@pytest.mark.parametrize(
    ("yaml", "place", "code"),
    [
        (b"steps: [", "2:1", "yaml-syntax"),
        (b"a:\n\t- b", "2:1", "yaml-syntax"),
        (b"a: 'b", "1:6", "yaml-syntax"),
        (b"a: b: c", "1:5", "yaml-syntax"),
        (b"ab\x00c", "1:3", "yaml-syntax"),
        (b"a: b\n--- \nc: d", "2:1", "yaml-syntax"),
        (b"\xef\xbb\xbfid: a", "1:1", "yaml-encoding"),
        (b"\xff\xfei\x00d\x00", "1:1", "yaml-encoding"),
        (b"a: b\nc: \xe4", "2:4", "yaml-encoding"),
        (b"\x7fELF\x02\x01\x01", "1:1", "yaml-syntax"),
        (b"[" * 100_000, "1:65", "too-deep"),
        (b"- " * 100_000, "1:129", "too-deep"),
        (b"{a: " * 100_000, "1:257", "too-deep"),
        (b"#" + b"x" * 4 * 1024 * 1024, "1:1", "too-large"),
        (b"a: &a [*a]", "1:8", "yaml-alias"),
        (b"a: *b", "1:4", "yaml-alias"),
        (b"? [a]\n: b", "1:3", "yaml-key"),
        (b"a: !!python/object/apply:os.system [x]", "1:4", "yaml-tag"),
        (b"a: 99999999999999999999", "1:4", "bad-value"),
        (b"a: 1" + b"0" * 5000, "1:4", "bad-value"),
        (b"a: 1e999", "1:4", "bad-value"),
        (b"a: .nan", "1:4", "bad-value"),
        (b"- a", "1:1", "bad-value"),
        (b"just text", "1:1", "bad-value"),
        (b"", "1:1", "missing-key"),
        (b"# nothing", "1:1", "missing-key"),
    ],
)
def test_hostile_and_broken_yaml_is_one_clear_problem(
    tmp_path: Path, yaml: bytes, place: str, code: str
):
    (tmp_path / "template.yaml").write_bytes(yaml)
    found = [(f"{p.line}:{p.column}", p.code) for p in check_template(tmp_path, JOB_TYPES)]
    assert (place, code) in found


def test_a_tab_says_that_it_is_one(tmp_path: Path):
    (tmp_path / "template.yaml").write_text("a:\n\t- b")
    assert "tabs" in str(check_template(tmp_path, JOB_TYPES)[0])


@pytest.mark.parametrize("leaf", ["[x, x, x, x, x, x, x, x]", f"'{'x' * 100_000}'"])
def test_aliases_cannot_make_a_small_file_large(tmp_path: Path, leaf: str):
    lines = [f"a0: &a0 {leaf}"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 8)}]" for n in range(1, 12)]
    (tmp_path / "template.yaml").write_text("\n".join(lines))
    assert [p.code for p in check_template(tmp_path, JOB_TYPES)] == ["too-large"]


def test_an_alias_is_a_copy(tmp_path: Path):
    text = """
        steps:
          - {name: a, type: note, with: &w {text: x}}
          - {name: b, type: note, with: *w}
        """
    first, second = loaded(tmp_path, text).steps
    assert first.with_ == second.with_ == {"text": "x"}
    assert first.with_ is not second.with_


def test_scalars_are_those_of_yaml_1_2(tmp_path: Path):
    text = """
        steps:
          - name: a
            type: note
            with: {data: {a: yes, b: on, c: 2024-01-01, d: 010, e: 1:30, f: true, g: ~, h: 0x1F}}
        """
    data = loaded(tmp_path, text).steps[0].with_["data"]
    expected = {"a": "yes", "b": "on", "c": "2024-01-01", "d": 10, "e": "1:30", "f": True}
    assert data == expected | {"g": None, "h": 31}


def test_no_file_is_a_problem_and_not_a_crash(tmp_path: Path):
    assert [p.code for p in check_template(tmp_path / "none", JOB_TYPES)] == ["missing-file"]
    (tmp_path / "template.yaml").mkdir()
    assert [p.code for p in check_template(tmp_path, JOB_TYPES)] == ["missing-file"]


def test_a_pipe_in_place_of_the_file_does_not_hang(tmp_path: Path):
    os.mkfifo(tmp_path / "template.yaml")
    assert [p.code for p in check_template(tmp_path, JOB_TYPES)] == ["missing-file"]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("name: b, type: note, needs: a", "bad-value"),
        ("name: b, type: note, needs: [a, 1]", "bad-value"),
        ("name: b, type: note, needs: [b]", "cycle"),
        ("name: b, type: note, neds: [a]", "unknown-key"),
        ("name: B, type: note", "bad-value"),
        ("name: 'a[b]', type: note", "bad-value"),
        ("name: '../b', type: note", "bad-value"),
        ("name: 1, type: note", "bad-value"),
        ("type: note", "missing-key"),
        ("name: b", "missing-key"),
        ("name: b, type: [note]", "bad-value"),
        ("name: b, type: note, with: text", "bad-value"),
        ("name: b, type: note, with: {data: {'${{ inputs.n }}': 1}}", "expression"),
        ("name: b, type: note, with: {number: x}", "bad-value"),
        ("name: b, type: note, each: [1]", "bad-value"),
        ("name: b, type: note, each: 'x ${{ inputs.l }}'", "bad-value"),
        ("name: b, type: note, each: '${{ steps.a.outputs.l }}'", "expression"),
        ("name: b, type: note, each: '${{ item }}'", "expression"),
        ("name: b, type: note, each: '${{ run.id }}'", "expression"),
        ("name: b, type: note, when: inputs.n", "bad-value"),
        ("name: b, type: note, when: '${{ item }}'", "expression"),
        ("name: b, type: note, with: {text: '${{ event.x }}'}", "expression"),
        ("name: b, type: note, with: {text: '${{ inputs.nn }}'}", "unknown-input"),
        ("name: b, type: note, with: {text: '${{ steps.aa.outputs.x }}'}", "unknown-step"),
        ("name: b, type: note, with: {text: '${{ steps.a.outputs.x }}'}", "not-needed"),
        ("name: b, type: note, with: {text: '${{ steps.b.outputs.x }}'}", "not-needed"),
        ("name: b, type: note, when: '${{ steps.a.outputs.x }}'", "not-needed"),
        ("name: b, type: note, with: {text: '${{ inputs.n.upper() }}'}", "expression"),
        ("name: b, type: note, on_failure: retry", "bad-value"),
        ("name: b, type: note, on_failure: {fallback: c}", "unknown-fallback"),
        ("name: b, type: note, on_failure: {fallback: b}", "unknown-fallback"),
        ("name: b, type: note, on_failure: {fall: c}", "unknown-key"),
        ("name: b, type: note, needs: [a], on_failure: {fallback: a}", "cycle"),
        ("name: b, type: note, undo: x", "unknown-undo"),
        ("name: b, type: note, cache: true", "bad-value"),
        ("name: b, type: note, cache: {ttl: 0s}", "bad-value"),
        ("name: b, type: note, timeout: 5", "bad-value"),
        ("name: b, type: note, approval: yes", "bad-value"),
        ("name: b, type: note, retry: {max_attempts: 0}", "bad-value"),
        ("name: b, type: note, retry: {max_attempts: true}", "bad-value"),
    ],
)
def test_each_mistake_in_a_step_has_its_code(tmp_path: Path, line: str, code: str):
    text = f"""
        inputs: {{type: object, properties: {{n: {{type: string}}, l: {{type: array}}}}}}
        steps:
          - {{name: a, type: note}}
          - {{{line}}}
        """
    assert code in codes(tmp_path, text)


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("outputs: {x: '${{ steps.b.outputs.x }}'}", "unknown-step"),
        ("outputs: {x: '${{ item }}'}", "expression"),
        ("outputs: x", "bad-value"),
        ("triggers: {hook: {}}", "unknown-key"),
        ("triggers: {webhook: {map: {}}}", "missing-key"),
        ("triggers: {webhook: {source: g, map: {x: '${{ event.a }}'}}}", "unknown-input"),
        ("triggers: {webhook: {source: g, map: {x: '${{ run.id }}'}}}", "expression"),
        ("triggers: {webhook: {source: g, when: always}}", "bad-value"),
        ("triggers: {webhook: {source: g, when: 'a ${{ event.a }}'}}", "bad-value"),
        ("triggers: {webhook: {source: g, when: '${{ inputs.n }}'}}", "expression"),
        ("triggers: {schedule: {cron: daily}}", "bad-value"),
        ("triggers: {schedule: {cron: '* * * * *', timezone: Mars/Base}}", "bad-value"),
        ("triggers: {schedule: {cron: '61 * * * *'}}", "bad-value"),
        ("triggers: {schedule: {timezone: UTC}}", "missing-key"),
        ("triggers: {schedule: {interval: 0s}}", "bad-value"),
        ("triggers: {schedule: {interval: 30}}", "bad-value"),
        ("triggers: {schedule: {interval: 1h, cron: '* * * * *'}}", "bad-value"),
        ("triggers: {schedule: {interval: 1h, inputs: [a]}}", "bad-value"),
        ("triggers: {schedule: {interval: 1h, inputs: {x: 1}}}", "unknown-input"),
        ("triggers: {schedule: {every: 1h}}", "unknown-key"),
        ("triggers: {schedule: 1h}", "bad-value"),
        ("defaults: {retries: {}}", "unknown-key"),
        ("defaults: {retry: {max_attempts: 99}}", "bad-value"),
        ("deadline: -1h", "bad-value"),
        ("title: 5", "bad-value"),
    ],
)
def test_each_mistake_beside_the_steps_has_its_code(tmp_path: Path, line: str, code: str):
    assert code in codes(tmp_path, f"{line}\nsteps: [{{name: a, type: note}}]\n")


def test_steps_may_not_be_left_out(tmp_path: Path):
    assert codes(tmp_path, "title: x") == ["missing-key"]
    assert codes(tmp_path, "steps: []") == ["bad-value"]


def test_two_names_that_meet_in_expressions_are_refused(tmp_path: Path):
    text = "steps: [{name: a-b, type: note}, {name: a_b, type: note}]"
    (problem,) = problems(tmp_path, text)
    assert problem.code == "duplicate-step"
    assert "steps.a_b" in problem.message


def test_a_cycle_is_named_whole_and_in_order(tmp_path: Path):
    text = """
        steps:
          - {name: z, type: note, needs: [c]}
          - {name: a, type: note, needs: [b]}
          - {name: b, type: note, needs: [c]}
          - {name: c, type: note, needs: [a]}
          - {name: x, type: note, needs: [y]}
          - {name: y, type: note, needs: [x]}
        """
    found = [p.message for p in problems(tmp_path, text)]
    assert found == ["steps need each other: a → b → c → a", "steps need each other: x → y → x"]


def test_a_step_may_read_what_it_needs_through_others(tmp_path: Path):
    text = """
        steps:
          - {name: a, type: note}
          - {name: b, type: note, needs: [a]}
          - {name: c, type: note, needs: [b], with: {text: "${{ steps.a.outputs.x }}"}}
        """
    assert loaded(tmp_path, text).steps[2].reads == ("a",)


def test_who_needs_a_step_may_read_its_fallback(tmp_path: Path):
    text = """
        steps:
          - {name: a, type: note, on_failure: {fallback: f}}
          - {name: f, type: note, with: {text: "${{ steps.a.outputs.x|default('') }}"}}
          - {name: b, type: note, needs: [a], with: {text: "${{ steps.f.outputs.x }}"}}
        """
    assert problems(tmp_path, text) == []


def test_a_step_is_the_fallback_of_one_and_has_its_each_or_none(tmp_path: Path):
    text = """
        inputs: {type: object, properties: {l: {type: array}, m: {type: array}}}
        steps:
          - {name: a, type: note, on_failure: {fallback: f}}
          - {name: b, type: note, on_failure: {fallback: f}}
          - {name: c, type: note, on_failure: {fallback: g}}
          - {name: d, type: note, each: "${{ inputs.l }}", on_failure: {fallback: h}}
          - {name: e, type: note, each: "${{ inputs.l }}", on_failure: {fallback: i}}
          - {name: f, type: note}
          - {name: g, type: note, each: "${{ inputs.l }}"}
          - {name: h, type: note, each: "${{ inputs.m }}"}
          - {name: i, type: note, each: "${{ inputs.l }}"}
        """
    found = problems(tmp_path, text)
    assert [problem.code for problem in found] == ["unknown-fallback"] * 3
    assert "f is the fallback of a already" in str(found[0])
    assert "g has an each, and c not the same" in str(found[1])
    assert "h has an each, and d not the same" in str(found[2])


def test_values_known_only_later_are_not_checked_now(tmp_path: Path):
    text = """
        inputs: {type: object, properties: {n: {type: integer}}}
        steps:
          - {name: a, type: note, with: {number: "${{ inputs.n }}", kind: "${{ inputs.n }}"}}
        """
    assert problems(tmp_path, text) == []


def test_sources_are_found_in_the_template_the_job_type_and_the_allowed_roots(tmp_path: Path):
    outside = tmp_path / "shared" / "base"
    outside.mkdir(parents=True)
    text = f"""
        steps:
          - {{name: a, type: layer, with: {{source: files}}}}
          - {{name: b, type: layer, with: {{source: brought}}}}
          - {{name: c, type: layer, with: {{source: {outside}}}}}
        """
    folder = write_template(tmp_path / "demo", text)
    template = load_template(folder, JOB_TYPES, source_roots=(tmp_path / "shared",))
    assert template.sources == {"files": folder / "files", str(outside): outside}
    (problem,) = check_template(folder, JOB_TYPES)
    assert problem.code == "hostile-source"
    assert "FACTORY_SOURCE_ROOTS" in str(problem.hint)


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ("../secret", "hostile-source"),
        ("files/../../secret", "hostile-source"),
        ("/etc", "hostile-source"),
        ('"~"', "hostile-source"),
        ("~nobody-of-that-name/x", "missing-source"),
        ("files/.git", "hostile-source"),
        ("template.yaml", "missing-source"),
        ("none", "missing-source"),
        ('"a\\0b"', "missing-source"),
        ("x" * 5000, "missing-source"),
        ('"${{ inputs }}"', "expression"),
    ],
)
def test_a_source_stays_where_it_may_be(tmp_path: Path, source: str, code: str):
    (tmp_path / "secret").mkdir()
    text = f"steps: [{{name: a, type: layer, with: {{source: {source}}}}}]"
    assert codes(tmp_path / "demo", text) == [code]


def test_a_link_that_leaves_the_template_is_hostile(tmp_path: Path):
    (tmp_path / "secret").mkdir()
    text = "steps: [{name: a, type: layer, with: {source: out}}]"
    folder = write_template(tmp_path / "demo", text)
    (folder / "out").symlink_to(tmp_path / "secret")
    assert {p.code for p in check_template(folder, JOB_TYPES)} == {"hostile-source"}


def test_the_digest_follows_every_file(tmp_path: Path):
    text = "steps: [{name: a, type: note}]"
    before = loaded(tmp_path, text).digest
    assert loaded(tmp_path, text).digest == before
    (tmp_path / "files" / "new").write_text("x")
    assert loaded(tmp_path, text).digest != before


def test_head_alone_needs_steps(tmp_path: Path):
    assert HEAD.startswith("id: demo")
    assert codes(tmp_path, "") == ["missing-key"]
