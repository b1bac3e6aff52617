"""The API server asked directly, for what nearly every test does: a call of kubectl costs a quarter of a second of CPU."""

from __future__ import annotations

import json
import ssl
from base64 import b64decode
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

ANSWER_S = 30.0


def ask(kubeconfig: Path, verb: str, path: str, body: Any = None) -> tuple[int, dict[str, Any]]:
    """Status and answer, as the user of a kubeconfig of network.sh. Raises OSError where no server answers."""
    config = yaml.safe_load(kubeconfig.read_text())
    server, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    trust = ssl.create_default_context(cadata=b64decode(server["certificate-authority-data"]).decode())
    host = urlsplit(server["server"])
    connection = HTTPSConnection(str(host.hostname), host.port, timeout=ANSWER_S, context=trust)
    try:
        headers = {"authorization": f"Bearer {user['token']}", "content-type": "application/json"}
        connection.request(verb, path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()
