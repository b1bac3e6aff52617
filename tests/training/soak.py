"""Kill training runs at random moments, many times, and compare each with the run that nobody disturbed, bit for bit.

    python -m tests.training.soak --kills 60 --seed 1 --output benchmarks/results/soak.md

The same code as tests/training/exact/test_exact_kills.py, for longer. The plan (configuration, victim, kind of moment) is drawn from
the seed, and so are the moments; what a moment then hits is up to the machine, and printed. Exit 0: every run was equal and left
nothing behind. 1: the table says which was not; its folder is kept.
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.training.exact.faults import VICTIMS, Campaign, Fault, Kill
from tests.training.exact.oracle import differences, outcome_of
from tests.training.exact.runs import CONFIGURATIONS, STEPS, Configuration, Run, finished

KILLS_A_RUN = 3


@dataclass
class Row:
    """One configuration in the table."""

    configuration: Configuration
    runs: int = 0
    kills: int = 0
    starts: int = 0
    repeated_steps: int = 0
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)

    def add(self, campaign: Campaign, seconds: float) -> None:
        self.runs += len(campaign.runs)
        self.kills += len(campaign.kills)
        self.seconds += seconds
        expected = outcome_of(campaign.reference.folder, STEPS)
        for run in campaign.runs:
            self.starts += len(run.events("start"))
            self.repeated_steps += len(run.step_lines()) - STEPS
            run.status()
            found = differences(outcome_of(run.folder, STEPS), expected) + run.leftovers()
            self.problems += [f"{run.folder}: {line}" for line in found]

    def line(self) -> str:
        cells = [self.configuration, self.runs, self.kills, self.starts, self.repeated_steps, f"{self.seconds:.0f}"]
        return f"| {' | '.join(map(str, cells))} | {'DIFFERS' if self.problems else 'equal'} |"


def soak(kills: int, seed: int, folder: Path) -> tuple[list[Row], list[Kill]]:
    """Kill `kills` times, three times a run, in turn over the configurations."""
    references: dict[Configuration, Run] = {}
    rows = {configuration: Row(configuration) for configuration in CONFIGURATIONS}
    chance, number = random.Random(seed), 0
    happened: list[Kill] = []
    while len(happened) < kills:
        configuration = CONFIGURATIONS[number % len(CONFIGURATIONS)]
        if configuration not in references:
            name = f"{configuration.parallel}-{configuration.ranks}"
            references[configuration] = finished(configuration, folder / "reference" / name, keep_rolling=1000)
        faults = [Fault.drawn(chance) for _ in range(min(KILLS_A_RUN, kills - len(happened)))]
        campaign = Campaign(references[configuration], folder / f"campaign-{number}", seed * 1000 + number)
        began = time.monotonic()
        campaign.endure(faults)
        rows[configuration].add(campaign, time.monotonic() - began)
        happened += campaign.kills
        number += 1
        if not rows[configuration].problems:
            shutil.rmtree(campaign.folder)
    return [row for row in rows.values() if row.runs], happened


def report(rows: list[Row], kills: list[Kill], seed: int, seconds: float) -> str:
    """The summary as Markdown."""
    equal = not any(row.problems for row in rows)
    runs, starts = sum(row.runs for row in rows), sum(row.starts for row in rows)
    lines = [
        f"# Soak: {len(kills)} kills, {'every run equal bit for bit' if equal else 'NOT EQUAL'}",
        "",
        f"Seed {seed}, {runs} runs of {STEPS} steps, {starts} starts of the trainer, {seconds:.0f} s.",
        "Compared with the uninterrupted run: every tensor of the last checkpoint, state.json, and the metrics of every step.",
        "After each run: no process, lock, shared memory or port was left." if equal else "",
        "",
        "| configuration | runs | kills | starts | repeated steps | seconds | result |",
        "|---|---|---|---|---|---|---|",
        *[row.line() for row in rows],
        "",
        *_by_phase(kills),
        *[f"- {problem}" for row in rows for problem in row.problems],
    ]
    return "\n".join(lines).rstrip() + "\n"


def _by_phase(kills: list[Kill]) -> list[str]:
    """Kills by victim and phase; all steps are one phase, and so are all states of a save."""
    counts = Counter((kill.victim, kill.phase.partition(":")[0].partition(" ")[0]) for kill in kills)
    phases = sorted({phase for _, phase in counts})
    table = [f"| killed | {' | '.join(phases)} | in all |", "|---" * (len(phases) + 2) + "|"]
    for victim in VICTIMS:
        row = [counts[victim, phase] for phase in phases]
        table.append(f"| {victim} | {' | '.join(map(str, row))} | {sum(row)} |")
    states = sorted({kill.phase for kill in kills if kill.phase.startswith("saving")})
    return [*table, "", f"{len(states)} different states of a save were hit:", "", *[f"- {state}" for state in states], ""]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.training.soak", description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=60, help="how many (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the plan and the moments (default: %(default)s)")
    parser.add_argument("--output", type=Path, help="write the summary there as well")
    args = parser.parse_args()
    if args.kills < 1:
        parser.error(f"--kills {args.kills} is less than 1")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as an exception, it takes the run at hand with it
    folder, began = Path(tempfile.mkdtemp(prefix="trainyard-soak-")), time.monotonic()
    rows, kills = soak(args.kills, args.seed, folder)
    text = report(rows, kills, args.seed, time.monotonic() - began)
    print(f"\n{text}", end="")
    if args.output:
        args.output.parent.mkdir(parents=True, exist_ok=True)
        args.output.write_text(text)
    if any(row.problems for row in rows):
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
