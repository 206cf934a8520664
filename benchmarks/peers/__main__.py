"""``python -m benchmarks.peers [WORD…]``: print the table, of all or of tools with such a name."""

from __future__ import annotations

import sys

from benchmarks.peers.figures import PeerFigures, table
from benchmarks.peers.measuring import KILLS, PEERS, ROUNDS, PeersMissingError, measure_each


def main() -> int:
    """Measure and print; the exit code."""
    words = sys.argv[1:]
    peers = [peer for peer in PEERS if not words or any(word in peer.tool for word in words)]
    rows: list[PeerFigures] = []
    try:
        for row in measure_each(peers):
            # At once: the whole takes twenty minutes, and the next one may break.
            print(_progress(row), file=sys.stderr, flush=True)
            rows.append(row)
    except PeersMissingError as error:
        print(error, file=sys.stderr)
        return 5
    print(f"medians of at most {ROUNDS} rounds of no-op jobs, and {KILLS} kills of 20 ms jobs")
    print(table(rows))
    return 0


def _progress(row: PeerFigures) -> str:
    speed, wait = f"{row.jobs_per_second:,.1f} jobs/s", f"{row.kill_to_next_job:.2f} s"
    return f"{row.tool}, {row.storage}: {speed}, {wait} from a kill to the next job"


if __name__ == "__main__":
    sys.exit(main())
