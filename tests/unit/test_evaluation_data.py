"""The labelled set that the memory is measured with: it is what it is said to be."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from factory_runtime.domain.errors import InputError
from factory_runtime.domain.memory import Collection, Kind
from factory_runtime.domain.retrieval import RIGHT, Half, LabelledSet
from factory_runtime.memory.labelled import SHIPPED, read_labelled


@pytest.fixture(scope="module")
def labelled() -> LabelledSet:
    return read_labelled()


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_it_is_large_enough(labelled: LabelledSet) -> None:
    assert len(labelled.documents) >= 600
    assert len(labelled.questions) >= 120
    assert {document.kind for document in labelled.documents} == {
        Kind.TEMPLATE,
        Kind.RUN,
        Kind.CODE,
        Kind.DOCUMENT,
    }
    assert len({document.text for document in labelled.documents}) == len(labelled.documents)


def test_both_halves_ask_all_styles_of_all_collections(labelled: LabelledSet) -> None:
    asked = Counter((one.half, one.collection, one.style) for one in labelled.questions)
    styles = {one.style for one in labelled.questions}
    assert "identifier" in styles
    assert set(asked) == {(h, c, s) for h in Half for c in Collection for s in styles}
    halves = Counter(one.half for one in labelled.questions)
    assert halves[Half.TUNE] == halves[Half.TEST]


def test_every_question_has_an_answer_and_near_misses(labelled: LabelledSet) -> None:
    for question in labelled.questions:
        right = [id_ for id_, grade in question.relevant.items() if grade == RIGHT]
        assert len(right) in {1, 2}, question.id
        assert len(set(question.near_misses)) >= 2, question.id
        assert not set(question.near_misses) & question.relevant.keys(), question.id


def test_a_question_asks_what_is_in_its_own_collection(labelled: LabelledSet) -> None:
    collections = {document.id: document.collection for document in labelled.documents}
    for question in labelled.questions:
        named = {*question.relevant, *question.near_misses}
        assert {collections[id_] for id_ in named} == {question.collection}, question.id


@pytest.mark.parametrize("collection", Collection)
def test_the_halves_are_split_by_clusters_of_documents(collection: Collection) -> None:
    documents = lines_of(SHIPPED / f"{collection.value}.jsonl")
    cluster_of = {document["id"]: document["cluster"] for document in documents}
    halves: defaultdict[str, set[str]] = defaultdict(set)
    for query in lines_of(SHIPPED / f"{collection.value}.queries.jsonl"):
        halves[query["cluster"]].add(query["half"])
        # What only helps may be of another cluster.
        right = [id_ for id_, grade in query["relevant"].items() if grade == RIGHT]
        named = {cluster_of[id_] for id_ in [*right, *query["near_misses"]]}
        assert named == {query["cluster"]}, query["id"]
    assert all(len(half) == 1 for half in halves.values())


def test_no_question_gives_its_answer_away(labelled: LabelledSet) -> None:
    title_of = {document.id: document.title.lower() for document in labelled.documents}
    for question in labelled.questions:
        assert question.query.lower() not in {title_of[id_] for id_ in question.relevant}
        assert not re.search(r"\b(runs|templates|code|domain)-[0-9]{3}\b", question.query)


# what is no labelled set

DOCUMENT: dict[str, Any] = {"id": "d", "cluster": "c", "title": "t", "text": "x"}
QUERY: dict[str, Any] = {
    "id": "q",
    "cluster": "c",
    "half": "tune",
    "style": "question",
    "query": "?",
    "relevant": {"d": 2},
    "near_misses": [],
}


def write(folder: Path, documents: Sequence[Any], queries: Sequence[Any]) -> None:
    for collection in Collection:
        (folder / f"{collection.value}.jsonl").write_text("")
        (folder / f"{collection.value}.queries.jsonl").write_text("")
    (folder / "runs.jsonl").write_text("\n".join(map(json.dumps, documents)))
    (folder / "runs.queries.jsonl").write_text("\n".join(map(json.dumps, queries)))


def test_a_small_set_of_ones_own_is_read(tmp_path: Path) -> None:
    write(tmp_path, [DOCUMENT], [QUERY])
    labelled = read_labelled(tmp_path)
    assert [one.text for one in labelled.documents] == ["t\nx"]
    assert [one.collection for one in labelled.questions] == [Collection.RUNS]


@pytest.mark.parametrize(
    ("documents", "queries", "named"),
    [
        (["{"], [QUERY], "runs.jsonl:1"),
        ([DOCUMENT, {**DOCUMENT, "id": "e", "more": 1}], [], "runs.jsonl:2"),
        ([{**DOCUMENT, "text": ""}], [], "text"),
        ([DOCUMENT, DOCUMENT], [], "twice"),
        ([DOCUMENT], [QUERY, QUERY], "twice"),
        ([], [QUERY], "'d'"),
        ([DOCUMENT], [{**QUERY, "near_misses": ["e"]}], "'e'"),
        ([DOCUMENT], [{**QUERY, "half": "third"}], "half"),
        ([DOCUMENT], [{**QUERY, "relevant": {"d": 3}}], "relevant"),
        ([DOCUMENT], [{**QUERY, "relevant": {"d": 1}}], "no right answer"),
    ],
)
def test_what_is_no_labelled_set_is_refused(
    tmp_path: Path, documents: list[Any], queries: list[Any], named: str
) -> None:
    write(tmp_path, documents, queries)
    with pytest.raises(InputError) as refused:
        read_labelled(tmp_path)
    assert named in str(refused.value)


def test_files_that_are_missing_or_no_text_are_refused(tmp_path: Path) -> None:
    write(tmp_path, [DOCUMENT], [QUERY])
    (tmp_path / "code.queries.jsonl").unlink()
    with pytest.raises(InputError, match=r"code\.queries\.jsonl"):
        read_labelled(tmp_path)
    (tmp_path / "runs.jsonl").write_bytes(b"\xff")
    with pytest.raises(InputError, match=r"runs\.jsonl"):
        read_labelled(tmp_path)
