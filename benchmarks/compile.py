"""How loading and compiling a template grow with its steps."""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.ratio import Ratio
from factory_runtime.compiler.load import load_template
from factory_runtime.compiler.plan import compile_plan, plan_to_json
from factory_runtime.compiler.syntax import parse_text
from factory_runtime.domain.template import JobTypeFacts

SIZES = (2_500, 5_000, 10_000)
JOB_TYPES = {
    "note": JobTypeFacts(
        name="note",
        version="1",
        with_schema={
            "type": "object",
            "required": ["text"],
            "properties": {"text": {"type": "string"}, "data": {"type": "object"}},
        },
    )
}


def chain_template(steps: int) -> str:
    """A template whose steps need the two before them, each with expressions of its own."""
    lines = [
        "id: chain",
        "version: 1.0.0",
        "inputs: {type: object, properties: {name: {type: string, default: orders}}}",
        "steps:",
    ]
    for n in range(steps):
        needs = ", ".join(f"s{m}" for m in (n - 1, n - 2) if m >= 0)
        before = f"steps.s{n - 1}.outputs.text ~ '-{n}'" if n else "inputs.name"
        lines += [
            f"  - name: s{n}",
            "    type: note",
            f"    needs: [{needs}]",
            f"    when: ${{{{ inputs.name != 'not-{n}' }}}}",
            f'    with: {{text: "${{{{ {before} }}}}", data: {{number: {n}}}}}',
        ]
    return "\n".join(lines)


def measure(steps: int) -> tuple[float, float, float]:
    """Seconds to load, seconds to compile, and this process's peak memory in MB."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "template.yaml").write_text(chain_template(steps))
        started = time.perf_counter()
        template = load_template(folder, JOB_TYPES)
        # Compiling has to be quick in a process that did not load the template just before.
        parse_text.cache_clear()
        loaded = time.perf_counter()
        plan = compile_plan(template, {}, JOB_TYPES)
        compiled = time.perf_counter()
    assert len(plan.jobs) == steps
    assert plan_to_json(plan) == plan_to_json(compile_plan(template, {}, JOB_TYPES))
    return loaded - started, compiled - loaded, peak_megabytes()


def peak_megabytes() -> float:
    """The most memory that this process ever held, not counting what its parent held."""
    # Linux hands getrusage's figure down from the parent through exec, so it is read elsewhere.
    status = Path("/proc/self/status")
    if status.exists():
        line = next(one for one in status.read_text().splitlines() if one.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 / 1024


def main() -> tuple[Ratio, ...]:
    """Print a line per size, each measured in a process of its own, and how it grows."""
    print(f"{'steps':>8} {'load s':>8} {'compile s':>10} {'peak MB':>8}")
    seconds: dict[int, tuple[float, float]] = {}
    peak = 0.0
    for steps in SIZES:
        command = [sys.executable, "-m", "benchmarks.compile", str(steps)]
        answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        load, compile_, peak = (float(part) for part in answer.split())
        seconds[steps] = load, compile_
        print(f"{steps:>8} {load:>8.2f} {compile_:>10.2f} {peak:>8.0f}")
    first, last = seconds[SIZES[0]], seconds[SIZES[-1]]
    print(
        f"{SIZES[-1] / SIZES[0]:.0f} times the steps take {last[0] / first[0]:.1f} times as long "
        f"to load and {last[1] / first[1]:.1f} times as long to compile"
    )
    return (
        Ratio(f"{SIZES[-1]} steps: seconds to compile / 2 s", last[1] / 2, 1.0),
        Ratio(f"{SIZES[-1]} steps: seconds to load and check / 2 s", last[0] / 2),
        Ratio(f"{SIZES[-1]} steps: peak memory / 300 MB", peak / 300, 1.0),
        Ratio("four times the steps: times as long", sum(last) / sum(first), 4 * 1.3),
    )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(*measure(int(sys.argv[1])))
    else:
        main()
