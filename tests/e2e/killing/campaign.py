"""Kill one rank of many jobs, whoever wrote their script, and see that every one comes back.

    python -m tests.e2e.killing.campaign --kills 60 --seed 1 --output benchmarks/results/kills.md

Half of the scripts do not import trainyard. Of the others the losses are compared with an undisturbed run of the same script and
number of ranks, bit for bit. Exit 0: all came back, with one restart shown, and equal.
"""

from __future__ import annotations

import argparse
import itertools
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.e2e.killing.launchers import LAUNCHERS
from tests.e2e.killing.trial import EXAMPLES, STEPS, WITH, WITHOUT, Case, Outcome, Trial

RANKS = (2, 4)


def draw(kills: int, seed: int) -> list[Case]:
    """As many with the lines as without; every kind and launcher in turn, in a drawn order."""
    chance = random.Random(seed)
    cases: list[Case] = []
    for lines, kinds in ((False, WITHOUT), (True, WITH)):
        there = [kind for kind in kinds if not lines or (EXAMPLES / WITH[kind]).exists()]
        every = [Case(*all) for all in itertools.product(there, [lines], RANKS, LAUNCHERS)]
        chance.shuffle(every)
        cases += list(itertools.islice(itertools.cycle(every), kills // 2 if lines else kills - kills // 2))
    chance.shuffle(cases)
    return cases


class Campaign:
    def __init__(self, folder: Path, seed: int, *, forks: bool = False) -> None:
        self.folder, self.seed, self.forks = folder, seed, forks
        self.references: dict[tuple[str, int], dict[int, float]] = {}

    def endure(self, case: Case, number: int) -> Outcome:
        """A job that ends before its kill is tried again."""
        expected = self._reference(case) if case.lines else {}
        for again in range(3):
            place = self.folder / f"{number}-{again}"
            outcome = Trial(case, self.seed * 1000 + number + 100_000 * again, place, forks=self.forks).run()
            if outcome.killed_rank >= 0 or "before the kill" not in outcome.problem:
                break
        if case.lines and outcome.back and outcome.losses != expected:
            differing = sum(outcome.losses.get(step) != loss for step, loss in expected.items())
            outcome.problem = f"{differing} of {len(expected)} losses differ"
        if outcome.good:
            shutil.rmtree(place)
        return outcome

    def _reference(self, case: Case) -> dict[int, float]:
        """The losses of the run that nobody disturbs: the same wherever its ranks are."""
        key = (case.kind, case.ranks)
        if key not in self.references:
            place = self.folder / f"reference-{case.kind.split()[0]}-{case.ranks}"
            outcome = Trial(Case(case.kind, True, case.ranks, "trainyard.launch"), 0, place, forks=self.forks).run(kill=False)
            if sorted(outcome.losses) != list(range(1, STEPS + 1)):
                raise SystemExit(f"the undisturbed run of {case} did not end well: {outcome.problem}; see {place}")
            self.references[key] = outcome.losses
        return self.references[key]


def table(outcomes: list[Outcome], seconds: float, seed: int) -> str:
    """A row a kind of script and launcher."""
    good = sum(outcome.good for outcome in outcomes)
    loads = sorted(outcome.load for outcome in outcomes)
    lines = [
        "# Kills of one rank, whoever wrote the script",
        "",
        f"Seed {seed}, {len(outcomes)} jobs with one kill each, {seconds / 60:.0f} min; load average at the kills "
        f"{loads[0]:.1f} to {loads[-1]:.1f}, median {loads[len(loads) // 2]:.1f}. CPU, gloo; NCCL was not tried.",
        f"**{good} of {len(outcomes)} came back** with one restart shown, and with the lines equal bit for bit.",
        "",
        "| script | lines | launcher | kills | back | one restart shown | equal | seconds from kill to end |",
        "|---|---|---|---|---|---|---|---|",
    ]
    key = lambda outcome: (outcome.case.kind, outcome.case.lines, outcome.case.launcher)  # noqa: E731
    for (kind, with_lines, launcher), group in itertools.groupby(sorted(outcomes, key=key), key):
        rows = list(group)
        counted = [row for row in rows if row.restarts is not None]
        shown = f"{sum(row.restarts == 1 for row in counted)} of {len(counted)}" if counted else "nobody counts"
        equal = f"{sum(row.back and 'differ' not in row.problem for row in rows)} of {len(rows)}" if with_lines else ""
        times = sorted(row.seconds for row in rows)
        cells = [kind, "with" if with_lines else "without", launcher, len(rows), sum(row.back for row in rows), shown, equal]
        lines.append(f"| {' | '.join(map(str, cells))} | {times[0]:.0f} to {times[-1]:.0f} |")
    lines += [""] + [
        f"- {outcome.case}, seed {outcome.seed}, rank {outcome.killed_rank} after step {outcome.after_step}: restarts "
        f"{outcome.restarts}, {' '.join(outcome.problem.split())[:300]}"
        for outcome in outcomes
        if not outcome.good
    ]
    return "\n".join(lines).rstrip() + "\n"


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--kills", type=int, default=60)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--output", type=Path, help="write the table there too")
    words = options.parse_args()
    folder, outcomes, began = Path(tempfile.mkdtemp(prefix="kills-")), [], time.monotonic()
    campaign = Campaign(folder, words.seed)
    for number, case in enumerate(draw(words.kills, words.seed)):
        outcome = campaign.endure(case, number)
        outcomes.append(outcome)
        verdict = "back" if outcome.good else f"NOT GOOD: {' '.join(outcome.problem.split())[:200]}"
        print(
            f"{number + 1:3} {case}: rank {outcome.killed_rank} after step {outcome.after_step}, load {outcome.load:.1f}, "
            f"restarts {outcome.restarts}, {outcome.seconds:.0f} s: {verdict}",
            flush=True,
        )
        if words.output:
            words.output.write_text(table(outcomes, time.monotonic() - began, words.seed))
    print(table(outcomes, time.monotonic() - began, words.seed))
    if all(outcome.good for outcome in outcomes):
        shutil.rmtree(folder)
        return 0
    print(f"kept: {folder}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
