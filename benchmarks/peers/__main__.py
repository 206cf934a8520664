"""``python -m benchmarks.peers``: print the table of the peers."""

from __future__ import annotations

import sys

from benchmarks.peers.figures import PeerFigures, table
from benchmarks.peers.measuring import KILLS, ROUNDS, PeersMissingError, measure_each


def main() -> int:
    """Measure and print; the exit code."""
    rows: list[PeerFigures] = []
    try:
        for row in measure_each():
            print(f"measured {row.tool}, {row.storage}", file=sys.stderr, flush=True)
            rows.append(row)
    except PeersMissingError as error:
        print(error, file=sys.stderr)
        return 5
    print(f"fan-out of no-op jobs, median of {ROUNDS} rounds; jobs of 20 ms, killed {KILLS} times")
    print(table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
