"""The scheduled work on the memory: what was learned is indexed, and new models get their vectors."""

from __future__ import annotations

from prefect import flow

from flows.hooks import shared_runtime
from tasks.threads import in_thread


@flow(name="index-memory", persist_result=False, log_prints=False)
async def index_memory() -> dict[str, int]:
    """Do the memory's part of the outbox, build models for a while, and have prose written.

    How many messages were done, how many failed, how many models have all their vectors, and how
    many memories have prose now.
    """
    runtime = shared_runtime()
    learned = await in_thread(runtime.learn)
    code = await in_thread(runtime.learn_code)
    built = await in_thread(runtime.migrator.build_a_while)
    written = await in_thread(runtime.write_prose)
    return {
        "done": learned.done + code.done,
        "failed": learned.failed + code.failed,
        "built": built,
        "written": written.done,
    }
