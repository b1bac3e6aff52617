"""The order in which processes are given tests."""

from __future__ import annotations

from collections import OrderedDict

from tests import turns

UNITS = ["cluster 0", "cluster 1", "tests/training/exact/test_a.py", "tests/test_b.py"]


def given_out(built: list[bool]) -> list[str]:
    """One unit after the other, as ByFile takes them; whether the components are built by then."""
    queue = OrderedDict.fromkeys(UNITS)
    order = []
    for each in built:
        turns.put_off(queue, built=each)
        order.append(queue.popitem(last=False)[0])
    return order


def test_clusters_come_first_where_their_components_are_built() -> None:
    assert given_out([True] * 4) == UNITS


def test_clusters_wait_for_their_components_and_begin_when_these_are_built() -> None:
    assert given_out([False] * 4) == [*UNITS[2:], *UNITS[:2]]
    assert given_out([False, True, True, True]) == [UNITS[2], *UNITS[:2], UNITS[3]]


def test_a_row_is_one_unit_and_any_other_file_one_of_its_own() -> None:
    assert turns.scope_of("tests/e2e/test_cluster_kills.py::test_x") == turns.scope_of(
        "tests/components/test_cluster.py::test_y"
    )
    assert turns.scope_of("tests/training/test_x.py::test_a") == "tests/training/test_x.py"
