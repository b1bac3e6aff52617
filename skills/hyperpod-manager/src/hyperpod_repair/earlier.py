"""What an earlier call, perhaps one that was killed, has asked for already. The same call again goes on with it, and asks nothing twice."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import trainyard_shell as shell

from hyperpod_repair.deeds import Deed
from hyperpod_repair.picture import Picture
from hyperpod_requests.journal import ASKED, PREPARING, Journal, Request, about, is_at_work, when
from hyperpod_waiting.progress import outcomes

NAMES = ("instance_id", "logical_id", "node")


@dataclass
class Earlier:
    requests: list[Request] = field(default_factory=list)
    """That AWS took: they are only waited for."""
    unsent: list[Request] = field(default_factory=list)
    """That AWS never got, as far as anything shows: they begin anew."""
    new: list[str] = field(default_factory=list)
    """Words of nodes that nothing was asked for."""

    def told(self) -> list[dict[str, Any]]:
        return [
            {"asked_at": when(each), "nodes": [entry.get("instance_id") or entry.get("logical_id") for entry in each["nodes"]]}
            for each in self.requests
        ]

    @property
    def names(self) -> set[str]:
        """Of the nodes that are only waited for, in each way to say them."""
        entries = [entry for each in self.requests for entry in each["nodes"]]
        return {str(entry[name]) for entry in entries for name in NAMES if entry.get(name)}

    def cordoned(self, node: str | None) -> bool:
        """By us, in a call that was killed: whoever ends this gives the node back."""
        entries = [entry for each in self.unsent for entry in each["nodes"]]
        return any(entry.get("node") == node and entry.get("cordoned") for entry in entries)


def adopt(picture: Picture, journal: Journal, deed: Deed, words: tuple[str, ...]) -> Earlier:
    """Raises SkillError conflict where another call is still at it."""
    found = Earlier(new=list(words))
    for request in journal.open_requests():
        hit = about(request, set(words))
        if not hit or request["verb"] != deed.verb:
            continue
        if is_at_work(request) and request["phase"] in (PREPARING, ASKED):
            hint = picture.command("wait", picture.cluster.name)
            message = f"process {request['pid']} has been running the same request since {when(request)}"
            raise shell.SkillError("conflict", message, hint=hint, retryable=True)
        if request["phase"] == PREPARING or (
            request["phase"] == ASKED and not any(each.begun for each in outcomes(picture, request))
        ):
            found.unsent.append(request)
            continue
        shell.progress(f"{deed.verb} was asked for at {when(request)}: going on with that")
        found.requests.append(request)
        taken = {entry.get(name) for entry in hit for name in NAMES}
        found.new = [word for word in found.new if word not in taken]
    return found
