"""What was run and how it failed: the command, where, with which versions, and the last words of its log."""

from __future__ import annotations

import shlex
from html import escape
from typing import TYPE_CHECKING

from log_reading.source import job_logs
from run_folder.folder import read_command, read_spec
from trainyard_files import Unusable, tail
from trainyard_logtail import BYTES, error_tail
from trainyard_shell import clean

if TYPE_CHECKING:
    from run_view.observe import Observation

FAILED = ("failed", "lost", "orphaned")


def how_it_failed(view: Observation) -> str:
    """A section for a run that failed, empty for any other."""
    if view.state.name not in FAILED:
        return ""
    reason = clean(view.runner.reason, 1000) if view.runner and view.runner.reason else view.state.evidence
    lines = _last_words(view)
    quoted = f"<pre>{escape(chr(10).join(lines))}</pre>" if lines else ""
    return f"<section><h2>How it ended</h2><p>{escape(reason)}</p>{quoted}</section>"


def what_was_run(view: Observation) -> str:
    """A section with what the runner and the newest start say; empty where neither says anything."""
    rows = [(name, value) for name, value in _rows(view) if value]
    if not rows:
        return ""
    cells = "".join(
        f'<tr><th scope="row">{name}</th><td class="text">{escape(clean(value, 1000))}</td></tr>' for name, value in rows
    )
    return f"<section><h2>What was run</h2><table><tbody>{cells}</tbody></table></section>"


def _rows(view: Observation) -> list[tuple[str, str]]:
    spec, start = read_spec(view.path), view.last_event("start")
    versions = [f"{name} {getattr(start, name)}" for name in ("python", "torch", "trainyard") if start and getattr(start, name)]
    ranks = str(start.world_size) if start and start.world_size else ""
    return [
        ("command", shlex.join(read_command(view.path))),
        ("folder", str(spec.get("workdir") or "")),
        ("Python", str(spec.get("python") or "")),
        ("host", str(start.host) if start and start.host else ""),
        ("ranks", ranks),
        ("versions", ", ".join(versions)),
    ]


def _last_words(view: Observation) -> list[str]:
    logs = job_logs(view.path, view.runner) if view.path.is_dir() else []
    try:
        return error_tail(tail(logs[-1], BYTES).decode("utf-8", errors="replace").splitlines()) if logs else []
    except (OSError, Unusable):
        return []
