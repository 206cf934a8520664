"""What a run is found by."""

from __future__ import annotations

from factory_runtime.domain.body import Body, BodyReference
from factory_runtime.domain.run_words import LONGEST, MOST, words_of_run, words_to_find
from tests.builders import a_run


def found(**inputs: object) -> set[str]:
    run = a_run(template_id="micro", project_id="shop", requested_by="ada", inputs=Body(inputs))
    return {one.word for one in words_of_run(run)}


def test_a_name_is_found_whole_and_in_pieces_in_any_case():
    assert found(service_name="Order-Service") >= {"order-service", "order", "service", "micro"}
    assert words_to_find("ORDER  shop ") == ("order", "shop")


def test_no_secret_is_a_word():
    secret = {"password": "hunter-2-hunter"}
    assert not {word for word in found(**secret) if "hunter" in word}


def test_there_are_no_more_than_a_run_may_have_nor_longer_ones():
    words = found(text=" ".join(f"w{n}" for n in range(100)), long="x" * 500, many=["a"] * 1000)
    assert len(words) == MOST
    assert max(map(len, words)) <= LONGEST
    assert max(map(len, words_to_find("y" * 500))) == LONGEST


def test_inputs_that_lie_elsewhere_have_none():
    run = a_run(inputs=Body(reference=BodyReference("a" * 64, 20_000)))
    assert {one.word for one in words_of_run(run)} >= {run.template_id, run.project_id}
