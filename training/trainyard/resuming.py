"""A start's restores: which step is asked for, the restore on all ranks, and the way cleared for what comes after it."""

from __future__ import annotations

from trainyard import choosing, objects, restoring
from trainyard.agreement import Agreement
from trainyard.errors import MismatchError, RestoreError, TrainyardError
from trainyard.lock import Claim
from trainyard.store import Store


class Resume:
    """Restores the objects, and knows whether they may be trained on."""

    def __init__(self, store: Store, things: objects.Objects, agreement: Agreement, claim: Claim) -> None:
        self._store, self._things, self._agreement, self._claim = store, things, agreement, claim
        self._failed: TrainyardError | None = None

    def check(self) -> None:
        """Raises MismatchError after a restore that failed."""
        if self._failed is not None:
            raise MismatchError(f"the restore failed, so this process must not train on ({self._failed})")

    def restore(self, which: str, fingerprint: str | None) -> restoring.Restored:
        """Collective. Raises RestoreError, MismatchError."""
        restarts = self._agreement.torchrun_restarts()
        request = self._agreement.broadcast(choosing.effective_request(which, self._claim.lock, restarts))
        found = self._restore(request, fingerprint)
        # Nobody trains, and so saves, before rank 0 has cleared the way; a failure there is raised on every rank.
        found.aside = restoring.on_rank_0(self._agreement, lambda: self._clear_the_way(request, found))
        return found

    def _restore(self, request: str, fingerprint: str | None) -> restoring.Restored:
        """After a restore that failed nothing may be trained or saved: objects hold half of a state, or steps of another model are here."""
        before, self._failed = self._failed, RestoreError("restore() did not end")
        try:
            found = restoring.restore(self._store, request, self._things, self._agreement, fingerprint)
        except TrainyardError as error:
            self._failed = error
            raise
        self._failed = before if isinstance(before, restoring.PartlyRestoredError) and not found.step else None
        return found

    def _clear_the_way(self, request: str, found: restoring.Restored) -> list[str]:
        """Rank 0: newer steps aside, an explicit choice into the lock; returns the folders set aside."""
        damaged = {entry["step"] for entry in found.skipped}
        aside = self._store.set_newer_aside(found.step, damaged)
        if request != "latest":
            self._claim.lock = self._claim.lock.with_origin({"requested": request, "step": found.step})
        return aside
