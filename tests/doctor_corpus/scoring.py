"""The doctor's answers beside what is known: shares, and a table of the misses."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.doctor_corpus.bench import REPOSITORY

DOCTOR = REPOSITORY / "skills" / "monitor" / "src" / "diagnose_training.py"
DEADLINE_S = 120.0


@dataclass(frozen=True, kw_only=True)
class Result:
    name: str
    truth: dict[str, Any]
    cause: str
    rank: int | str | None
    node: str | None
    restart: str | None
    seconds: float

    @property
    def cause_right(self) -> bool:
        return self.cause in (self.truth["cause"], *self.truth["also"])

    @property
    def rank_right(self) -> bool:
        if self.truth["cause"] == "none":
            return self.cause_right
        told = "any" if self.rank is None else self.rank
        known = {"any" if each is None else each for each in (self.truth["rank"], *self.truth["also_rank"])}
        return told in known

    @property
    def node_right(self) -> bool:
        return self.truth["node"] in (None, self.node)

    @property
    def asks_restart(self) -> bool:
        return self.truth["restart"] is not None

    @property
    def restart_exact(self) -> bool:
        return self.restart in (self.truth["restart"], *self.truth["also_restart"])

    @property
    def restart_right(self) -> bool:
        """RESTART of any kind against STOP."""
        return group(self.restart) in {group(each) for each in (self.truth["restart"], *self.truth["also_restart"])}

    @property
    def stops_what_recovers(self) -> bool:
        return (
            self.asks_restart and self.restart == "STOP" and "STOP" not in (self.truth["restart"], *self.truth["also_restart"])
        )


def group(restart: str | None) -> str:
    return "RESTART" if str(restart).startswith("RESTART") else str(restart)


def ask(evidence: Path) -> tuple[dict[str, Any], float]:
    """The root that the doctor names ({} when it names none), and the seconds that it took."""
    began = time.monotonic()
    words = [sys.executable, str(DOCTOR), "doctor", str(evidence), "--json"]
    try:
        done = subprocess.run(words, capture_output=True, timeout=DEADLINE_S, check=False)
        root = json.loads(done.stdout)["data"]["root"] or {"cause": "none"}
    except (subprocess.TimeoutExpired, ValueError, KeyError, TypeError) as error:
        root = {"cause": f"no answer ({type(error).__name__})"}
    return root, time.monotonic() - began


def scored(folder: Path, only: list[str] | None = None) -> list[Result]:
    results = []
    for path in sorted(folder.glob("[!.]*/truth.json")):
        name = path.parent.name
        if only and not any(each in name for each in only):
            continue
        root, seconds = ask(path.parent / "evidence")
        told = {key: root.get(key) for key in ("rank", "node", "restart")}
        results.append(
            Result(name=name, truth=json.loads(path.read_text()), cause=str(root.get("cause")), seconds=seconds, **told)
        )
    return results


def share(name: str, right: list[bool]) -> str:
    return f"| {name} | {sum(right)} of {len(right)} | {sum(right) / max(1, len(right)):.3f} |"


def report(results: list[Result]) -> str:
    faults = [each for each in results if each.truth["cause"] != "none"]
    asked = [each for each in results if each.asks_restart]
    seconds = sorted(each.seconds for each in results)
    lines = ["# The doctor on its held-out cases", "", "| | cases | share |", "|---|---|---|"]
    lines += [
        share("root cause right", [each.cause_right for each in results]),
        share("root rank right", [each.rank_right for each in results]),
        share("node right, where one is known", [each.node_right for each in results if each.truth["node"]]),
        share("restart or stop right", [each.restart_right for each in asked]),
        share("restart exact", [each.restart_exact for each in asked]),
        share("root cause right, faults that happened here", [each.cause_right for each in results if each.truth["real"]]),
        "",
        f"- STOP on a recoverable fault: {sum(each.stops_what_recovers for each in results)}",
        f"- claims on what is healthy: {sum(each.cause not in ('none', 'unknown') for each in results if each not in faults)}",
        f"- `unknown`: {sum(each.cause == 'unknown' for each in results)}",
        f"- no answer: {sum(each.cause.startswith('no answer') for each in results)}",
        f"- time: median {seconds[len(seconds) // 2]:.2f} s, longest {seconds[-1]:.2f} s",
        "",
        *misses(results),
        *confusion(results),
    ]
    return "\n".join(lines) + "\n"


def misses(results: list[Result]) -> list[str]:
    """One line a case that is wrong in anything."""
    lines = [
        "## Misses",
        "",
        "| case | wrong | cause: known, told | rank: known, told | restart: known, told |",
        "|---|---|---|---|---|",
    ]
    for each in results:
        wrong = [] if each.cause_right else ["cause"]
        wrong += [] if each.rank_right else ["rank"]
        wrong += [] if each.node_right else [f"node ({each.truth['node']}, {each.node})"]
        wrong += [] if not each.asks_restart or each.restart_right else ["restart"]
        if not wrong and each.asks_restart and not each.restart_exact:
            wrong = ["kind of restart"]
        if wrong:
            known = each.truth
            pairs = [(known["cause"], each.cause), (known["rank"], each.rank), (known["restart"], each.restart)]
            lines.append(f"| {each.name} | {', '.join(wrong)} | {' | '.join(f'{one}, {other}' for one, other in pairs)} |")
    return [*lines, ""]


def confusion(results: list[Result]) -> list[str]:
    lines = ["## Confusion", "", "| known | told | cases |", "|---|---|---|"]
    pairs = Counter((each.truth["cause"], each.cause) for each in results if not each.cause_right)
    return lines + [f"| {known} | {told} | {count} |" for (known, told), count in pairs.most_common()]
