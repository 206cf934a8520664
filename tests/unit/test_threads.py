"""Threads: what a process owes its runs does not queue behind what its jobs do."""

from __future__ import annotations

import asyncio
import threading

from tasks.threads import JOBS, in_job_thread, in_thread, on_sender_thread


def test_a_heartbeat_is_not_kept_waiting_by_jobs_that_hold_every_thread():
    let_go = threading.Event()

    async def live() -> str:
        deaf = [asyncio.create_task(in_job_thread(let_go.wait)) for _ in range(4 * JOBS)]
        await asyncio.sleep(0)
        try:
            return await asyncio.wait_for(in_thread(lambda: "beat"), timeout=20)
        finally:
            let_go.set()
            await asyncio.gather(*deaf)

    assert asyncio.run(live()) == "beat"


def test_a_prefect_that_answers_nothing_sent_keeps_no_heartbeat_waiting():
    let_go, sent = threading.Event(), threading.Semaphore(0)

    def send() -> None:
        let_go.wait()
        sent.release()

    async def live() -> str:
        for _ in range(4 * JOBS):
            on_sender_thread(send)
        return await asyncio.wait_for(in_thread(lambda: "beat"), timeout=20)

    try:
        assert asyncio.run(live()) == "beat"
    finally:
        let_go.set()
    assert all(sent.acquire(timeout=20) for _ in range(4 * JOBS))
