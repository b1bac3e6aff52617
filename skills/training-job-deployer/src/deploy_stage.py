"""A stage of a deployment, and the programs that more than one place calls. Which stages a target has, its place says."""

from __future__ import annotations

from dataclasses import dataclass

MONITOR = ("monitor", "monitor_training.py")
SUBMISSIONS = ("submit", "deploy")
"""The stage that starts the job has one of these names. What the job file says stands from there on."""
METERED = "billed by the account"


@dataclass(frozen=True)
class Stage:
    """One step of a deployment: a program, and what it leaves behind."""

    name: str
    skill: str
    script: str
    writes: str
    cost: str = "0 USD"
    keys: tuple[str, ...] = ()
    """The keys of the job file that this stage depends on; with the source they make its digest."""
    uses_source: bool = True
    is_cached: bool = True
    """Whether its answer counts until its inputs change; else its program is asked at each submission, and knows what there is to do."""

    @property
    def program(self) -> str:
        return f"{self.skill}/src/{self.script}"

    @property
    def inputs(self) -> list[str]:
        """Names of what it depends on."""
        return [*self.keys, *(["source files"] if self.uses_source else [])]
