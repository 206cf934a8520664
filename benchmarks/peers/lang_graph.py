"""The fan-out in LangGraph: a ``StateGraph`` that fans out by ``Send``, with its SQLite saver.

Durability is its default with a checkpointer: a checkpoint after each superstep, and the results of
single nodes written in the background while the superstep runs. ``invoke`` writes them on the
threads that execute nodes, thus after the nodes that already wait there; ``ainvoke`` does not.
"""

# pyright: basic, reportMissingImports=false
# LangGraph is installed in the peers' own environment only, not where types are checked.

from __future__ import annotations

import asyncio
import operator
from collections.abc import Callable, Generator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Annotated, Any, TypedDict

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Send

from benchmarks.peers.fan_out import LAST, ROOT, FanOut, Tool

PACKAGE = "langgraph"

_FILE = "checkpoints.sqlite"


class State(TypedDict):
    """What the nodes add up."""

    done: Annotated[list[str], operator.add]


class One(TypedDict):
    """What a node of the fan-out is sent."""

    name: str


Invoke = Callable[[State | None, str], Any]
"""Execute the graph on a thread's checkpoints, from a state or, by None, from where it stopped."""


class _Graph:
    def __init__(self, invoke: Invoke) -> None:
        self._invoke = invoke
        self._threads = count()

    def run(self) -> int:
        return len(self._invoke({"done": []}, f"run-{next(self._threads)}")["done"])

    def recover(self) -> int:
        # The caller has to know the thread, and to ask: nothing goes on by itself.
        return len(self._invoke(None, "run-0")["done"])


def _compiled(fan_out: FanOut, saver: BaseCheckpointSaver) -> Any:
    def root(state: State) -> None:
        fan_out.run_job(ROOT)

    def job(one: One) -> State:
        return {"done": [fan_out.run_job(one["name"])]}

    def last(state: State) -> None:
        fan_out.run_job(LAST)

    def send_all(state: State) -> list[Send]:
        return [Send("job", {"name": name}) for name in fan_out.middle]

    graph = StateGraph(State)
    graph.add_node(ROOT, root)
    graph.add_node("job", job)
    graph.add_node(LAST, last)
    graph.add_edge(START, ROOT)
    graph.add_conditional_edges(ROOT, send_all, ["job"])
    graph.add_edge("job", LAST)
    graph.add_edge(LAST, END)
    return graph.compile(checkpointer=saver)


def _thread(name: str) -> RunnableConfig:
    return {"configurable": {"thread_id": name}}


@contextmanager
def opened_invoke(folder: Path, url: str | None) -> Generator[Tool]:
    """LangGraph by ``invoke``, over a SQLite file."""
    del url
    with SqliteSaver.from_conn_string(str(folder / _FILE)) as saver:
        graph = _compiled(FanOut.from_environment(), saver)
        yield _Graph(lambda state, thread: graph.invoke(state, _thread(thread)))


@contextmanager
def opened_ainvoke(folder: Path, url: str | None) -> Generator[Tool]:
    """LangGraph by ``ainvoke``, over a SQLite file."""
    del url
    with asyncio.Runner() as runner:
        opening = AsyncSqliteSaver.from_conn_string(str(folder / _FILE))
        graph = _compiled(FanOut.from_environment(), runner.run(opening.__aenter__()))
        try:
            yield _Graph(lambda state, thread: runner.run(graph.ainvoke(state, _thread(thread))))
        finally:
            runner.run(opening.__aexit__(None, None, None))
