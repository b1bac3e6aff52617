"""What a test printed on its host, without the lines that carry its answer."""

from __future__ import annotations

import trainyard_aws
import trainyard_codebuild as codebuilds
import trainyard_codebuild_log as running
import trainyard_shell as shell
from codebuild_test.remote import MARK


def logs(build_id: str, region: str | None, lines: int) -> shell.Result:
    build = codebuilds.get(trainyard_aws.client("codebuild", region), codebuilds.check_id(build_id))
    tail = running.LogTail(trainyard_aws.client("logs", region))
    found = [line for line in tail.lines(build) if not line.startswith(f"{MARK} ")]
    data = {
        "build_id": build.id,
        "status": build.status,
        "lines": found[-lines:],
        "total": len(found),
        "silent": tail.silent or None,
    }
    return shell.Result(data, truncated=len(found) > lines)
