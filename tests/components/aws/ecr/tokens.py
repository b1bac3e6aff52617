"""Registry tokens: whose they are and how long they hold."""

from __future__ import annotations

import base64
import binascii
import secrets
import time
from dataclasses import dataclass, field

from tests.components.aws.iam.caller import Caller

TWELVE_HOURS_S = 12 * 3600.0


@dataclass
class Token:
    caller: Caller
    expires_at: float
    """Epoch seconds."""
    requests_left: float

    def holds(self) -> bool:
        return self.requests_left > 0 and time.time() < self.expires_at


@dataclass
class Tokens:
    valid_s: float = TWELVE_HOURS_S
    valid_requests: float = float("inf")
    """How many requests to the registry a new token is good for."""
    expired_status: int = 401
    """ECR has been seen to answer 403 too, with the same body."""
    short_lived: float = float("inf")
    """How many of the next tokens expire as set here; those after them hold for twelve hours."""
    by_password: dict[str, Token] = field(default_factory=dict)

    def issue(self, caller: Caller) -> tuple[str, float]:
        """The password for the user AWS, and when it expires (epoch seconds)."""
        password = f"eyJ{secrets.token_urlsafe(60)}"
        short = self.short_lived > 0
        self.short_lived -= 1
        expires_at = time.time() + (self.valid_s if short else TWELVE_HOURS_S)
        self.by_password[password] = Token(caller, expires_at, self.valid_requests if short else float("inf"))
        return password, expires_at

    def of(self, authorization: str) -> Token | None:
        """The token of a Basic Authorization header, expired or not; None for anything else."""
        kind, _, encoded = authorization.partition(" ")
        try:
            user, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
        except (binascii.Error, ValueError):
            return None
        return self.by_password.get(password) if kind.lower() == "basic" and user == "AWS" else None
