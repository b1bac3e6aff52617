"""Asking nvidia-smi: on this machine, or through exec in the pods of a job; several looks, for one moment shows no idle GPU."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import trainyard_shell as shell
from hardware.gpu_facts import IDLE_PERCENT, Gpu, Seen
from hardware.smi_output import FIELDS, NO_DRIVER, read_smi, refused_field

ASK_S = 30.0
"""nvidia-smi takes a second or two without persistence mode, and hangs where a GPU has fallen off the bus."""
MAX_OUTPUT = 1 << 20
AT_ONCE = 16
Ask = Callable[[list[str]], str]
"""Runs a command in one place and gives what it printed, stderr after stdout. Raises SkillError."""


def command(fields: tuple[str, ...]) -> list[str]:
    return ["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv"]


def on_this_machine(words: list[str]) -> str:
    """Raises SkillError dependency where there is no nvidia-smi, timeout where it hangs."""
    try:
        done = subprocess.run(words, capture_output=True, timeout=ASK_S, check=False)
    except FileNotFoundError as error:
        message = "there is no nvidia-smi on this machine"
        raise shell.SkillError(
            "dependency", message, hint="--prometheus URL, or -n NAMESPACE for a job on a cluster"
        ) from error
    except subprocess.TimeoutExpired as error:
        message = f"nvidia-smi did not answer within {ASK_S:g} s: a GPU of this machine hangs"
        raise shell.SkillError("timeout", message, hint="dmesg | grep -i xid", retryable=True) from error
    return (done.stdout[:MAX_OUTPUT] + b"\n" + done.stderr[:MAX_OUTPUT]).decode("utf-8", "replace")


def ask_fields(ask: Ask) -> tuple[str, tuple[str, ...]]:
    """(what it printed, the columns that this driver knows). A column that it does not know is left out, not given up for."""
    fields: tuple[str, ...] = FIELDS
    for _ in FIELDS:
        text = ask(command(fields))
        unknown = refused_field(text)
        if unknown not in fields:
            break
        fields = tuple(each for each in fields if each != unknown)
    return text, fields


@dataclass
class Watch:
    """Looks at every place again and again. What one place refuses does not hide the others."""

    places: dict[str, Ask]
    known: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """The columns that a place's driver has."""
    busy: set[str] = field(default_factory=set)
    """GPUs that were in use, or did not say, in any look."""

    def look(self) -> Looked:
        with ThreadPoolExecutor(min(AT_ONCE, len(self.places) or 1)) as pool:
            found = list(pool.map(self._one, self.places))
        looked = Looked(*([each for part in kind for each in part] for kind in zip(*found, strict=True)))
        self.busy |= {gpu.label for gpu in looked.gpus if gpu.use_percent is None or gpu.use_percent >= IDLE_PERCENT}
        return looked

    def _one(self, place: str) -> tuple[list[Gpu], list[str], list[str]]:
        ask = self.places[place]
        try:
            if place in self.known:
                text = ask(command(self.known[place]))
            else:
                text, self.known[place] = ask_fields(ask)
        except shell.SkillError as error:
            return [], [], [f"{place}: {shell.clean(str(error), 200)}"]
        gpus, lost, others = read_smi(text, place)
        if gpus and not any(NO_DRIVER.search(line) for line in others):
            others = []  # a warning beside the table
        return gpus, lost, others if gpus or lost or others else [f"{place}: nvidia-smi printed nothing"]


class Looked(NamedTuple):
    gpus: list[Gpu]
    lost: list[str]
    problems: list[str]


def watched(places: dict[str, Ask], *, watch_s: float, interval_s: float, expected: int | None) -> Seen:
    """The newest values after `watch_s` seconds of looks; a GPU is idle that showed no use in any of them."""
    if not places:
        return Seen([], "nvidia-smi", ["no pod runs"], expected=expected)
    watch = Watch(places)
    looked, took = watch.look(), 0.0
    began = time.monotonic()
    while looked.gpus and took < watch_s:  # what one look takes is not time that a GPU was watched
        time.sleep(interval_s)
        looked = watch.look()
        took = time.monotonic() - began
    gpus = [
        replace(gpu, watched_s=took, idle_s=None if gpu.use_percent is None else 0.0 if gpu.label in watch.busy else took)
        for gpu in looked.gpus
    ]
    return Seen(gpus, "nvidia-smi", looked.problems, looked.lost, expected)
