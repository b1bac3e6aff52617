"""One probe in a process of its own: the job's Python as it is, with what its site, its .pth files and its environment do to it."""

from __future__ import annotations

import os
import sys

from image_probe.probe_report import Report


def main(spec: dict[str, object], parts: list[tuple[str, str]]) -> None:
    """Calls `part.function` for each item from `first` on, and reports each. Every end of this process is an answer."""
    _offer_to_the_oom_killer()
    report = Report(int(str(spec["handle"])), str(spec["word"]))
    part, _, name = str(spec["call"]).partition(".")
    function = getattr(sys.modules["image_probe." + part], name)
    _stand_in(str(spec.get("folder") or ""))
    items = spec["items"]
    assert isinstance(items, list)
    for index in range(int(str(spec["first"])), len(items)):
        try:
            report.result(index, function(report, items[index]))
        except BaseException as error:  # also SystemExit and what derives from nothing else: an import may raise anything
            report.error(index, error)
    sys.stdout.flush()
    os._exit(0)  # threads and atexit functions of what was imported are not waited for


def _offer_to_the_oom_killer() -> None:
    """Where memory ends, this process goes and not the one that reports it."""
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("1000")
    except OSError:
        pass


def _stand_in(folder: str) -> None:
    """As `python SCRIPT` would: the script's folder first. Only now, or a json.py of the project would be ours."""
    sys.path[:] = [each for each in sys.path if each]
    if folder:
        sys.path.insert(0, folder)
