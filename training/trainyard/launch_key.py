"""Who belongs to a job: the nodes that know its key, which lies in the run folder on the job's volume, for the job's user alone.

Both sides prove that they know it, over a number that each has just drawn (HMAC-SHA256), so that nothing heard on the network can be
used again. Without a run folder that all nodes share there is no key; then the run id takes its place, which everybody may know who
may read the job's manifest. What this protects against, and what not: shared-docs/decisions/0016-who-belongs-to-a-job.md.
"""

from __future__ import annotations

import contextlib
import hmac
import json
import os
import re
import secrets
from dataclasses import dataclass
from pathlib import Path

from trainyard.files import make_run_folder

KEY_FILE = "launch.key"
NONCE = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Credentials:
    run_id: str
    node: int
    key: bytes | None

    def proof(self, role: str, challenge: str, nonce: str) -> str:
        """`role`: who proves it, node or coordinator; `challenge`: the coordinator's number, `nonce`: the node's."""
        told = json.dumps(["trainyard.launch", role, self.run_id, self.node, challenge, nonce])
        return hmac.new(self.key or self.run_id.encode(), told.encode(), "sha256").hexdigest()

    def proves(self, proof: str, role: str, challenge: str, nonce: str) -> bool:
        expected = self.proof(role, challenge, nonce).encode()
        return NONCE.fullmatch(nonce) is not None and hmac.compare_digest(expected, proof.encode("utf-8", "replace"))


def new_nonce() -> str:
    return secrets.token_hex(16)


def read_key(run_dir: Path) -> bytes | None:
    """None while there is none, which is also what an NFS client may say for half a minute after it was written."""
    try:
        descriptor = os.open(run_dir / KEY_FILE, os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    with open(descriptor, "rb") as file:
        text = file.read(128)
    return text.strip() if re.fullmatch(rb"[0-9a-f]{64}\n", text) else None


def make_key(run_dir: Path) -> bytes:
    """The key of this run; node 0 makes it once, and whoever is node 0 after it goes on with it. Raises OSError."""
    make_run_folder(run_dir)
    if key := read_key(run_dir):
        return key
    temporary = run_dir / f".{KEY_FILE}.{secrets.token_hex(4)}"
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "wb") as file:
            file.write(secrets.token_hex(32).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(run_dir / KEY_FILE)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    key = read_key(run_dir)
    if key is None:
        raise OSError(f"{run_dir / KEY_FILE} was written and is not there")
    return key
