"""A refusal as AWS sends it."""

from __future__ import annotations


class Refused(Exception):
    """`code` and text are AWS's own; `status` is the HTTP status (JSON services answer 400 to nearly everything)."""

    def __init__(self, code: str, message: str, status: int = 400, **members: object) -> None:
        super().__init__(message)
        self.code, self.message, self.status = code, message, status
        self.members = members
        """What the error's shape has besides `message`."""
