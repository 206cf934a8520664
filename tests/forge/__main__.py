"""Runs a forge: ``python -m tests.forge FOLDER [--tls] [--latency SECONDS]``.

Prints where it is as one line of JSON, and ends as its standard input does.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from tests.forge.control import Controlled
from tests.forge.forge import running_forge

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.forge", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tls", action="store_true")
    parser.add_argument("--latency", type=float, default=0, metavar="SECONDS")
    asked = parser.parse_args()
    with running_forge(asked.folder, tls=asked.tls, checks=False, app=Controlled) as forge:
        forge.set_latency(asked.latency)
        told = {"url": forge.url, "token": forge.add_token(), "authority": forge.authority}
        sys.stdout.write(json.dumps(told, default=str) + "\n")
        sys.stdout.flush()
        sys.stdin.read()
