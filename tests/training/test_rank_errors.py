"""What one rank found wrong is known to the others by its kind, whatever its words are."""

from __future__ import annotations

import errno
import json

import pytest
from trainyard import errors, rank_errors
from trainyard.checkpoint_bytes import MissingError
from trainyard.rank_errors import UNREADABLE, as_data, texts
from trainyard.restoring import PartlyRestoredError
from trainyard.store import Rejected

KINDS: dict[str, tuple[Exception, str]] = {
    "of the tree": (errors.MismatchError("w is F32[2]"), "MismatchError"),
    "with another kind's words": (errors.DamagedError("MismatchError: mismatch: unreadable"), "DamagedError"),
    "of a reader": (MissingError("state.json: missing"), "DamagedError"),
    "of a restore": (PartlyRestoredError("an object refused"), "MismatchError"),
    "of a writer": (Rejected(4, ["w"]), "SaveError"),
    "of the disk": (OSError(errno.EIO, "Input/output error", "shard"), UNREADABLE),
    "of the memory": (MemoryError(), UNREADABLE),
    "only the root": (errors.TrainyardError("two tensors"), "TrainyardError"),
}


@pytest.mark.parametrize("what", KINDS)
def test_an_error_keeps_its_kind_and_its_text_on_the_way(what: str) -> None:
    error, kind = KINDS[what]
    arrived = json.loads(json.dumps(as_data(error)))
    assert arrived["kind"] == kind
    assert arrived["text"] == {
        "of the disk": "shard: Input/output error (EIO)",
        "of the memory": "out of memory while reading",
    }.get(what, str(error))


def test_texts_are_those_of_one_kind_by_rank() -> None:
    found = [None, *(as_data(error) for error, _ in KINDS.values())]
    assert texts(found, "DamagedError") == ["MismatchError: mismatch: unreadable", "state.json: missing"]
    assert len(texts(found)) == len(KINDS) and texts([None, None]) == []


def test_a_text_that_is_too_long_for_all_ranks_is_cut() -> None:
    told = as_data(errors.DamagedError("a" + "\u00e9" * rank_errors.TEXT_BYTES))["text"]
    assert told == "a" + "\u00e9" * (rank_errors.TEXT_BYTES // 2 - 1) + "\ufffd", "the character on the edge is marked as lost"
