"""`factory memory evaluate`: how well the memory is searched, measured by questions with answers."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.as_json import print_json, to_json
from cli.door import StoreDoor, open_here
from cli.options import Json

if TYPE_CHECKING:
    from factory_runtime.domain.retrieval import LabelledSet
    from factory_runtime.services.evaluate_recall import Measured, RecallEvaluation

SHIPPED = "minilm"
"""The embedder that is used where the settings say nothing."""


def evaluate(json: Json = False) -> None:
    """Measure the search: as it is shipped, by words alone, and by meaning alone.

    Hundreds of documents are indexed for it, somewhere that is deleted again; with an embedder of
    your own in FACTORY_EMBEDDER, that is measured beside the shipped one. It takes a minute or so.
    """
    from factory_runtime.memory.labelled import read_labelled

    door = open_here(json=json)
    labelled = read_labelled()
    if not json:
        count = f"{len(labelled.questions)} questions to {len(labelled.documents)} documents"
        door.screen.line(f"{count}: hit and MRR ask for the best, nDCG weighs what is near", "dim")
        door.screen.flush()
    names = dict.fromkeys((SHIPPED, door.settings.embedder))
    found = {name: _evaluated(door, name, labelled) for name in names}
    if json:
        print_json({"evaluations": [_as_json(name, one) for name, one in found.items()]})
        return
    for name, one in found.items():
        door.screen.heading(f"{name}: {one.model}" + (", as shipped" if name == SHIPPED else ""))
        rows = [_row(measured) for measured in one.measured if _is_whole(measured)]
        door.screen.table(_HEADERS, sorted(rows, key=lambda row: row[0], reverse=True))


_HEADERS = ("half", "search", "questions", "hit@1", "hit@3", "MRR", "nDCG@10", "near-miss first")


def _evaluated(door: StoreDoor, name: str, labelled: LabelledSet) -> RecallEvaluation:
    from factory_runtime.memory.lance import LanceMemoryIndex
    from factory_runtime.services.evaluate_recall import evaluate_recall

    embedder = door.runtime.open_embedder(name)
    with tempfile.TemporaryDirectory(prefix="factory-evaluate-") as folder:
        return evaluate_recall(labelled, embedder, LanceMemoryIndex(Path(folder), embedder))


def _is_whole(measured: Measured) -> bool:
    return measured.style is None and measured.collection is None


def _row(measured: Measured) -> tuple[str, ...]:
    one = measured.quality
    scores = (one.hit_at_1, one.hit_at_3, one.mrr, one.ndcg_at_10, one.near_miss_first)
    told = (f"{score:.3f}" for score in scores)
    return (measured.half, measured.way, str(one.questions), *told)


def _as_json(name: str, evaluation: RecallEvaluation) -> dict[str, Any]:
    return {
        "embedder": name,
        "model": evaluation.model,
        "shipped": name == SHIPPED,
        "documents": evaluation.documents,
        "measured": to_json(evaluation.measured),
    }
