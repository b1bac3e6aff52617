"""What AWS and its SDK say, as exit codes and hints: `trainyard_aws.py`, called through `tags`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ecr_call import Pusher

USER = (
    "User: arn:aws:iam::123456789012:user/u is not authorized to perform: ecr:DescribeRepositories on resource: arn:aws:ecr:x"
)

REFUSALS = {
    "RequestTimeTooSkewed": (4, "credentials", "clock"),
    "InvalidToken": (4, "credentials", "aws login"),
    "UnrecognizedClientException": (4, "credentials", "region that the account has not switched on"),
    "ExpiredTokenException": (4, "credentials", "aws sso login"),
}


@pytest.mark.parametrize("reason", REFUSALS)
def test_a_refusal_has_its_code(pusher: Pusher, reason: str) -> None:
    status = 403 if reason == "RequestTimeTooSkewed" else 400
    pusher.aws.fail("ecr:DescribeRepositories", reason, "no", status=status, times=9)
    done = pusher.call("tags", "net")
    code, word, hint = REFUSALS[reason]
    assert (done.code, done.error["code"]) == (code, word) and hint in done.error["hint"], done


DENIALS = {
    " because no identity-based policy allows the ecr:DescribeRepositories action": "",
    " with an explicit deny in a service control policy": "service control policy",
    " with an explicit deny in an identity-based policy: arn:aws:iam::1:policy/p": "identity-based policy",
    " because no permissions boundary allows the ecr:DescribeRepositories action": "permissions boundary",
    " because no VPC endpoint policy allows the ecr:DescribeRepositories action": "VPC endpoint policy",
}


@pytest.mark.parametrize("why", DENIALS)
def test_a_statement_is_shown_where_it_helps(pusher: Pusher, why: str) -> None:
    """Not where a policy of the organisation, or a boundary, stands against it."""
    pusher.aws.fail("ecr:DescribeRepositories", "AccessDeniedException", USER + why)
    hint = pusher.call("tags", "net").error["hint"]
    if DENIALS[why]:
        assert hint.startswith(f"the {DENIALS[why]} blocks ecr:DescribeRepositories") and "{" not in hint, hint
    else:
        assert json.loads(hint.partition("statement: ")[2])["Action"] == "ecr:DescribeRepositories", hint


def test_a_denial_without_words_names_the_action(pusher: Pusher) -> None:
    pusher.aws.fail("ecr:DescribeRepositories", "AccessDeniedException", "Access Denied")
    statement = json.loads(pusher.call("tags", "net").error["hint"].partition("statement: ")[2])
    assert statement["Action"] == "ecr:DescribeRepositories" and statement["Resource"].endswith("repository/net"), statement


def test_a_wrong_set_up_is_told(pusher: Pusher, tmp_path: Path) -> None:
    """An endpoint that is no URL, a file that is no configuration, and `aws login` without what it wants or without a session."""
    assert pusher.call("tags", "net", AWS_ENDPOINT_URL="nonsense").code == 2
    (tmp_path / "broken").write_text("hello")
    assert pusher.call("tags", "net", AWS_CONFIG_FILE=str(tmp_path / "broken")).code == 2
    (tmp_path / "login").write_text("[profile me]\nlogin_session = arn:aws:iam::123456789012:user/me\n")
    keys = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "HOME": str(tmp_path)}
    done = pusher.call("tags", "net", AWS_CONFIG_FILE=str(tmp_path / "login"), AWS_PROFILE="me", **keys)
    assert (done.code, done.error["code"]) in ((8, "dependency"), (4, "credentials")), done
