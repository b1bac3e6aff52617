"""The doctor's rules: each fits its own example and not its near miss, and the table of causes is made from them."""

from __future__ import annotations

import re

import pytest

from tests import doctor_table

RULES = doctor_table.rules()
WITH_PATTERNS = [row for row in RULES if row.get("patterns")]


def fits(row: dict[str, object], text: str) -> bool:
    patterns, unless = row["patterns"], row.get("unless")
    assert isinstance(patterns, list)
    found = any(re.search(each, text) for each in patterns)
    return found and not (isinstance(unless, str) and re.search(unless, text))


@pytest.mark.parametrize("row", WITH_PATTERNS, ids=lambda row: str(row["id"]))
def test_a_rule_fits_its_example_only(row: dict[str, str]) -> None:
    assert fits(row, row["example"]) and not fits(row, row["near_miss"])


def test_a_rule_says_what_to_do() -> None:
    told = [row["id"] for row in RULES if row.get("role", "root") == "root" and not row.get("do") and row["cause"] != "none"]
    assert len(RULES) > 100 and told == []


def test_no_id_stands_twice() -> None:
    names = [row["id"] for row in RULES]
    assert sorted(set(names)) == sorted(names)


def test_the_table_is_that_of_the_rules() -> None:
    assert doctor_table.written() == doctor_table.table(), "python tests/doctor_table.py --write"


def test_a_pattern_does_not_run_away() -> None:
    """Lines of a log are cut at 4 KB; none of the patterns may take long on such a one."""
    import time

    lines = ["a" * 4096, "Error: " * 500, "failed to " * 400, "rank 1 " * 500, "[" * 4096, "no such " * 500, "x: y.z-" * 500]
    slow = []
    for row in WITH_PATTERNS:
        began = time.process_time()
        for line in lines:
            fits(row, line)
        if time.process_time() - began > 0.5:
            slow.append((row["id"], time.process_time() - began))
    assert slow == []
