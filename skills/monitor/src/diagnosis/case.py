"""Everything that one failure left behind: the attempt that is asked about, its logs, its cluster, its records."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from diagnosis.evidence import Evidence, Pod
from diagnosis.facts import Death, Found
from diagnosis.one_log import LogFacts
from diagnosis.run_history import Attempt, History

LOCAL_PEER = re.compile(r"\[(?:127\.0\.0\.1|::1|localhost)\]")


@dataclass
class Case:
    evidence: Evidence
    history: History | None = None
    attempt: Attempt | None = None
    logs: list[LogFacts] = field(default_factory=list)
    found: list[Found] = field(default_factory=list)
    deaths: list[Death] = field(default_factory=list)
    outcome: str = "unknown"
    """finished, failed, stopped, running, pending (it never began) or unknown."""
    world: int | None = None
    procs_per_node: int | None = None
    now: float | None = None
    problems: list[str] = field(default_factory=list)
    has_live_stacks: bool = False
    """They were taken when the cause was asked for, and not by whoever saw a hang."""

    @property
    def made_steps(self) -> bool:
        attempts = self.history.attempts if self.history else []
        return any(each.steps.last for each in self.logs) or any(each.last_step is not None for each in attempts)

    @property
    def last_step_time(self) -> float | None:
        times = [step[2] for each in self.logs for step in each.steps.last if step[2] is not None]
        if self.history and self.history.last_step_time:
            times.append(self.history.last_step_time)
        return max(times, default=None)

    @property
    def ranks_seen(self) -> set[int]:
        seen = {rank for each in self.logs for rank in each.ranks_seen}
        seen |= {each.rank for each in self.deaths if each.rank is not None}
        return seen | {each.source.rank for each in self.logs if each.source.rank is not None}

    def pod_of(self, name: str | None) -> Pod | None:
        return next((each for each in self.evidence.pods if each.name == name), None)

    def rank_by_pid(self, pid: int) -> int | None:
        for death in self.deaths:
            if death.pid == pid and death.rank is not None:
                return death.rank
        for each in (found for facts in self.logs for found in facts.found):
            if each.rank is not None and each.rule.cause == "loader-death" and each.more.get("pid") == str(pid):
                return each.rank if isinstance(each.rank, int) else None  # a worker process of that rank
        return self.attempt.pids.get(pid) if self.attempt else None
