"""What a case is: its name, what is known about it, and the function that makes its evidence."""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.doctor_corpus import areas

if TYPE_CHECKING:
    from tests.doctor_corpus.bench import Bench

RESTARTS = ("RESTART", "RESTART_ELSEWHERE", "RESTART_OLDER", "STOP")
FOLDER = Path(__file__).parent


@dataclass(frozen=True, kw_only=True)
class Truth:
    """The one known root of a case. `also...`: answers that a careful engineer could give for the same evidence too."""

    cause: str
    rank: int | str | None
    """3, "all", "launcher", or "any": the evidence cannot tell which."""
    restart: str | None
    """None: nothing is asked (the run is healthy)."""
    node: str | None = None
    also: tuple[str, ...] = ()
    also_rank: tuple[int | str | None, ...] = ()
    also_restart: tuple[str, ...] = ()
    real: bool = True
    """The fault happened on this machine; else the evidence is written in the words of public sources."""
    proof: str = ""
    """A pattern that the evidence must contain: a job that failed in another way is not this case."""

    def __post_init__(self) -> None:
        for each in (self.restart, *self.also_restart):
            if each is not None and each not in RESTARTS:
                raise ValueError(f"{each!r} is not one of {RESTARTS}")


@dataclass(frozen=True)
class Case:
    name: str
    truth: Truth
    make: Callable[[Bench], None]
    made_by: str

    def written(self, folder: Path) -> None:
        """truth.json, after the evidence is there."""
        text = "".join(path.read_text(errors="replace") for path in sorted((folder / "evidence").rglob("*")) if path.is_file())
        if not re.search(self.truth.proof, text):
            raise RuntimeError(f"the evidence of {self.name} does not contain {self.truth.proof!r}")
        about = {**asdict(self.truth), "about": (self.make.__doc__ or "").strip(), "made_by": self.made_by}
        (folder / "truth.json").write_text(json.dumps(about, indent=1) + "\n")


CASES: dict[str, Case] = {}


def case(name: str, **truth: object) -> Callable[[Callable[[Bench], None]], Callable[[Bench], None]]:
    """Makes a function that writes evidence a case."""

    def register(make: Callable[[Bench], None]) -> Callable[[Bench], None]:
        if name in CASES:
            raise ValueError(f"two cases are called {name}")
        made_by = f"tests/doctor_corpus/areas/{make.__module__.rpartition('.')[2]}.py"
        CASES[name] = Case(name, Truth(**truth), make, made_by)  # type: ignore[arg-type]
        return make

    return register


def all_cases() -> dict[str, Case]:
    for module in pkgutil.iter_modules(areas.__path__):
        importlib.import_module(f"{areas.__name__}.{module.name}")
    return CASES
