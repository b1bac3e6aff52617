"""Questions to a cluster that may refuse, be slow, or go away in the middle: what is not answered is named, and the next one is asked."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import trainyard_shell as shell
from evidence_folder.writing import EvidenceFolder
from trainyard_kube import ApiError, Cluster

Answer = TypeVar("Answer")


@dataclass
class Asking:
    """Threads may ask."""

    cluster: Cluster
    folder: EvidenceFolder
    over: str | None = None
    """Why nothing more is asked: the API server is gone, the credentials have ended."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def ask(self, what: str, call: Callable[[], Answer], *, optional: bool = False) -> Answer | None:
        """The answer; None where there is none, and `what` is left out with the reason. `optional`: what is not there (404: a kind
        that is not installed, an object that is gone) is no loss."""
        if why := self.why_not():
            self.folder.leave_out(what, why)
            return None
        try:
            return call()
        except ApiError as error:
            if error.code == "credentials":
                self.over = str(error)
            if not (optional and error.status == 404):
                self.folder.leave_out(what, f"{error}{'; ' + error.hint if error.cause == 'rbac' else ''}")
        except shell.SkillError as error:
            self.folder.leave_out(what, str(error))
            if error.code == "unreachable":
                self._look_whether_it_is_there()
        return None

    def why_not(self) -> str | None:
        if self.over is None and self.folder.limits.left_s <= 0:
            self.over = "the time was over (--timeout-s)"
        return self.over

    def _look_whether_it_is_there(self) -> None:
        """One pod's log that breaks off is that pod's; a server that does not answer is asked nothing more: each try costs seconds."""
        with self.lock:
            if self.over is not None:
                return
            try:
                self.cluster.get("/version")
            except ApiError:
                return
            except shell.SkillError as error:
                self.over = f"the API server had stopped answering: {error}"
