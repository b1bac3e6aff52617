"""`doctor`, `summary` and `ledger` of diagnose_training.py, without their options."""

from __future__ import annotations

import trainyard_shell as shell
from diagnosis.answers import answer
from diagnosis.case import read_case
from diagnosis.choosing import diagnose
from diagnosis.evidence import open_evidence


def doctor_result(run: str, attempt: int | None) -> shell.Result:
    case = read_case(open_evidence(run), attempt)
    return shell.Result(data=answer(case, diagnose(case)))
