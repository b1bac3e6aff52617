"""What a request says of a run on this machine, as the options of `submit` would."""

from __future__ import annotations

from typing import Any

import trainyard_launchers
import trainyard_request


def with_request(path: str, given: dict[str, Any], command: tuple[str, ...]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """(options, command): those of the request, and before them what stands on the command line. Raises SkillError."""
    request = trainyard_request.read(path)
    words = trainyard_request.words_of(request.run)
    after_s = request.monitor.hang_after_s
    asked = {
        "run_id": request.run_id,
        "name": request.name,
        "workdir": request.source,
        "python": None if request.python == "auto" else request.python,
        # a plain command is one process
        "procs": str(request.procs_per_node) if trainyard_launchers.find_launcher(words) else "1",
        "max_restarts": request.monitor.max_restarts,
        "stop_grace_s": request.monitor.stop_grace_s,
        "hang": request.monitor.hang,
        "hang_after_s": None if after_s == "auto" else after_s,
        "max_hours": request.budget.max_hours if request.budget else None,
    }
    trainyard_request.within_bounds(asked)
    said = {name: value for name, value in given.items() if trainyard_request.was_said(name)}
    variables = {**trainyard_request.saving_variables(request), **request.env}
    env = (*(f"{name}={value}" for name, value in variables.items()), *given["env"])
    return {**given, **asked, **said, "env": env}, command or tuple(words)
