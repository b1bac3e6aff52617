"""What was submitted: the specification, how it is stored, and how two of them differ. Standard library only."""

from __future__ import annotations

import hashlib
import shlex
from dataclasses import asdict, dataclass, field
from typing import Any

from trainyard_hiding import hidden_words
from trainyard_secrets import is_secret

DIGEST = "sha256:"


@dataclass(frozen=True, kw_only=True)
class Spec:
    """One run on this machine. Paths are absolute."""

    run_id: str
    name: str
    workdir: str
    command: list[str]
    python: str
    procs: int | None = 1
    """None: one a GPU of this machine, looked up at each start."""
    max_restarts: int = 3
    stop_grace_s: float = 60.0
    backoff_s: float = 1.0
    """Delay before the second restart of attempts that die young; it doubles. The first comes at once."""
    hang: str = "restart"
    """What is done about a hang: restart or report."""
    hang_after_s: float | None = None
    """Seconds without a step, or without output where no step can be read; None: found out (hang_rule.py)."""
    max_hours: float | None = None
    """Of running, over all starts; then the run is stopped."""
    checkpoints: str
    env: dict[str, str] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """As stored in runner-spec.json: of a secret only a digest."""
        env = {name: digest(self.run_id, v) if is_secret(name, v) else v for name, v in sorted(self.env.items())}
        return {"format": 1, **asdict(self), "env": env}

    @classmethod
    def from_document(cls, document: dict[str, Any], env: dict[str, str]) -> Spec:
        """`env` brings the values that the document does not hold."""
        known = document | {name: value for name, value in ADDED_LATER.items() if name not in document}
        return cls(**{name: known[name] for name in cls.__dataclass_fields__ if name != "env"}, env=env)


def digest(run_id: str, value: str) -> str:
    return DIGEST + hashlib.sha256(f"{run_id} {value}".encode()).hexdigest()[:16]


ADDED_LATER = {"hang": Spec.hang, "hang_after_s": Spec.hang_after_s, "max_hours": Spec.max_hours}
"""What a run submitted by an older version did not store."""


def resume_call(stored: dict[str, Any], run_dir: str) -> str:
    """The call that goes on with this run, ready to paste; hidden values are left to fill in."""
    words = ["run_local.py", "submit", "--run-dir", run_dir, "--run-id", stored["run_id"], "--name", stored["name"]]
    words += ["--workdir", stored["workdir"], "--python", stored["python"], "--checkpoints", stored["checkpoints"]]
    words += ["--procs", str(stored["procs"] or "auto"), "--max-restarts", str(stored["max_restarts"])]
    words += ["--stop-grace-s", f"{stored['stop_grace_s']:g}", "--backoff-s", f"{stored['backoff_s']:g}"]
    words += ["--hang", stored.get("hang", Spec.hang), "--hang-after-s", hang_after(stored.get("hang_after_s"))]
    words += ["--max-hours", f"{stored['max_hours']:g}"] if stored.get("max_hours") else []
    for name, value in stored["env"].items():
        is_hidden = value.startswith(DIGEST) or is_secret(name, value)
        words += ["--env", f"{name}={'VALUE' if is_hidden else value}"]
    return shlex.join([*words, "--resume", "--", *hidden_words(stored["command"])])


def differences(stored: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """Names of the members that differ, `env` one by one."""
    stored = ADDED_LATER | stored
    names = [name for name in wanted if name != "env" and stored.get(name) != wanted[name]]
    old, new, run_id = stored.get("env") or {}, wanted["env"], wanted["run_id"]
    return names + [f"env {name}" for name in sorted({*old, *new}) if not _is_same(old.get(name), new.get(name), run_id)]


def _is_same(old: str | None, new: str | None, run_id: str) -> bool:
    """An older version may have hidden what is shown now, and shown what is hidden now."""
    if old is None or new is None or old == new:
        return old == new
    return old == digest(run_id, new) or digest(run_id, old) == new


def hang_after(seconds: float | None) -> str:
    """As --hang-after-s takes it."""
    return "auto" if seconds is None else f"{seconds:g}"
