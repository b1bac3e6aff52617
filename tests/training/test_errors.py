"""One root: whoever catches TrainyardError has everything that the runtime raises on purpose."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import trainyard
from trainyard import checkpoint_bytes, checkpoint_format, errors

OF_CHECKPOINTS = [kind for kind in vars(checkpoint_bytes).values() if isinstance(kind, type) and issubclass(kind, Exception)]


def test_the_tree_that_is_drawn_is_the_tree_and_all_of_it_can_be_imported_from_the_package() -> None:
    drawn = re.findall(r"^[|`]- (\w+)", errors.__doc__ or "", re.MULTILINE)
    defined = [name for name, kind in vars(errors).items() if isinstance(kind, type) and name != "TrainyardError"]
    assert sorted(drawn) == sorted(defined)
    assert all(issubclass(getattr(trainyard, name), trainyard.TrainyardError) for name in drawn)


@pytest.mark.parametrize("kind", OF_CHECKPOINTS, ids=lambda kind: kind.__name__)
def test_what_a_reader_of_checkpoints_raises_is_damage_and_damage_has_the_one_root(kind: type[Exception]) -> None:
    assert issubclass(kind, trainyard.DamagedError) and issubclass(kind, trainyard.TrainyardError)


def test_a_step_that_is_not_there_is_caught_by_the_root(tmp_path: Path) -> None:
    with pytest.raises(trainyard.TrainyardError, match=r"manifest\.json"):
        checkpoint_format.read_manifest(tmp_path)
