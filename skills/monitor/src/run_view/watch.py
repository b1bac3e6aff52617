"""The two faces of `watch`: a live view on a terminal, JSON lines anywhere else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import trainyard_shell as shell
import trainyard_tables
from run_folder.records import finite
from run_view.state import ENDED
from run_view.status import duration

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table
    from run_view.observe import Observation

BARS = "▁▂▃▄▅▆▇█"
SPARK_CHARS = 48
SHOWN_EVENTS = (
    "attempt-ended",
    "restored",
    "committed",
    "save-failed",
    "rejected",
    "nan-loss",
    "stopping",
    "closed",
    "run-ended",
)


class Screen(Protocol):
    def show(self, view: Observation, data: dict[str, Any], checks: list[shell.Check]) -> None: ...


class JsonLines:
    """One object a look; checks that pass are left out."""

    def __enter__(self) -> JsonLines:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, view: Observation, data: dict[str, Any], checks: list[shell.Check]) -> None:
        told = [vars(check) for check in checks if check.status not in ("pass", "skipped")]
        shell.emit("status", time=view.now, **data, checks=told)


class Terminal:
    """A panel that redraws itself in place and stays when the view ends."""

    def __enter__(self) -> Terminal:
        from rich.live import Live

        self._live = Live(auto_refresh=False)
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, view: Observation, data: dict[str, Any], checks: list[shell.Check]) -> None:
        self._live.update(panel(view, data, checks), refresh=True)


def panel(view: Observation, data: dict[str, Any], checks: list[shell.Check]) -> Group:
    from rich.console import Group
    from rich.panel import Panel
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    bar = Table.grid(expand=True)  # a bar alone does not end its line
    progress = ProgressBar(total=data["total_steps"] or 1, completed=(data["step"] or 0) if data["total_steps"] else 0)
    bar.add_row(progress)
    bad = [check for check in checks if check.status not in ("pass", "skipped")]
    told = [
        Text(f"{check.status:8}{check.id:20} {check.summary}", style=trainyard_tables.COLOURS[check.status]) for check in bad
    ]
    events = [Text(line, style="dim") for line in _events(view)]
    title = Text(f"{data['name']}: {data['state']}", style="bold")
    return Group(Panel(Group(_figures(data), bar, Text(sparkline(view)), *told, *events), title=title, expand=True))


def _figures(data: dict[str, Any]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    checkpoint = data["last_checkpoint"]
    age = (
        f"step {checkpoint['step']}, {checkpoint['age_steps']} steps, {duration(checkpoint['age_s'])} old"
        if checkpoint
        else "none"
    )
    rows = [
        (
            "step",
            f"{_text(data['step'])} of {_text(data['total_steps'])}",
            "left",
            "-" if data["state"] in ENDED else duration(data["eta_s"]),
        ),
        ("loss", _text(data["loss"]), "smoothed", _text(data["loss_smoothed"])),
        (*_throughput(data), "step time", duration(data["step_s_median"])),
        ("checkpoint", age, "restarts", f"{_text(data['restarts'])} of {_text(data['max_restarts'])}"),
    ]
    for name, value, other_name, other_value in rows:
        table.add_row(Text(name, style="dim"), Text(value), Text(other_name, style="dim"), Text(other_value))
    return table


def _throughput(data: dict[str, Any]) -> tuple[str, str]:
    log = data["log"] or {}
    if log.get("throughput") is not None:
        return log["throughput_unit"], _text(log["throughput"])
    return "tokens/s", _text(data["tokens_per_s"])


def _text(value: object) -> str:
    return "?" if value is None else f"{value:,.4g}" if isinstance(value, float) else str(value)


def sparkline(view: Observation) -> str:
    """The loss of the last steps, each character the mean of a few."""
    losses = [value for line in view.recent if (value := finite(line.loss)) is not None]
    if len(losses) < 2:
        return ""
    size = max(1, len(losses) // SPARK_CHARS)
    means = [sum(losses[i : i + size]) / len(losses[i : i + size]) for i in range(0, len(losses), size)]
    low, span = min(means), (max(means) - min(means)) or 1.0
    bars = "".join(BARS[round((value - low) / span * (len(BARS) - 1))] for value in means)
    return f"{bars} loss, last {len(losses)} steps: {min(losses):.3f} to {max(losses):.3f}"


def _events(view: Observation) -> list[str]:
    told = [event for event in view.events if event.type in SHOWN_EVENTS][-4:]
    return [
        shell.clean(
            f"{duration(max(0.0, view.now - event.time)):>12} ago  {event.type} {event.reason or event.error or _at(event.step)}",
            110,
        )
        for event in told
    ]


def _at(step: int | None) -> str:
    return "" if step is None else f"step {step}"
