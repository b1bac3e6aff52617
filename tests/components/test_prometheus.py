"""Prometheus answers as AMP does: only to a signature for `aps` in its region; and what goes wrong on demand."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.components.aws.world import ROOT_KEY, ROOT_SECRET
from tests.components.prometheus import metrics
from tests.components.prometheus.fixtures import HOT
from tests.components.prometheus.running import Prometheus

KEYS = Credentials(ROOT_KEY, ROOT_SECRET)
NODE = "hyperpod-i-0abcdef0123456789"


def asked(
    url: str,
    words: dict[str, Any],
    *,
    keys: Credentials | None = None,
    region: str = "us-east-1",
    service: str = "aps",
    post: bool = False,
) -> Any:
    """The answer's document. Raises HTTPError."""
    form = urllib.parse.urlencode(words)
    data = form.encode() if post else None
    headers = {"Content-Type": "application/x-www-form-urlencoded"} if post else {}
    signed = AWSRequest("POST" if post else "GET", url if post else f"{url}?{form}", headers, data)
    if keys:
        SigV4Auth(keys, service, region).add_auth(signed)
    request = urllib.request.Request(signed.url, data, dict(signed.headers), method=signed.method)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.loads(answer.read(1 << 20))


@pytest.mark.parametrize("post", [False, True])
def test_signed(prometheus: Prometheus, post: bool) -> None:
    """Real PromQL over the newest samples; the workspace's URL wants the signature, the plain one does not."""
    prometheus.show(metrics.gpu_node(NODE, gpus=2, temperature=(91.0,), efa=1))
    words = {"query": "max by (Hostname) (DCGM_FI_DEV_GPU_TEMP) > 85"}
    signed = asked(f"{prometheus.workspace_url}/api/v1/query", words, keys=KEYS, post=post)
    [found] = signed["data"]["result"]
    assert (found["metric"], found["value"][1]) == ({"Hostname": NODE}, "91")
    assert asked(f"{prometheus.url}/api/v1/query", words, post=post)["data"]["result"][0]["metric"] == {"Hostname": NODE}
    prometheus.show(metrics.gpu_node(NODE, gpus=2))
    assert asked(f"{prometheus.url}/api/v1/query", words)["data"]["result"] == []


def test_range(prometheus: Prometheus) -> None:
    """Minutes before the session are there."""
    now = time.time()
    words = {"query": f'DCGM_FI_DEV_GPU_TEMP{{Hostname="{HOT}",gpu="0"}}', "start": now - 720, "end": now - 480, "step": 60}
    [found] = asked(f"{prometheus.workspace_url}/api/v1/query_range", words, keys=KEYS)["data"]["result"]
    assert {value for _, value in found["values"]} == {"88"} and len(found["values"]) == 5


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"keys": None}, "Missing Authentication Token"),
        ({"region": "us-west-2"}, "valid region"),
        ({"service": "execute-api"}, "'aps'"),
        ({"keys": Credentials("AKIA0000000000000000", "x")}, "token included in the request is invalid"),
        ({"keys": Credentials(ROOT_KEY, "x")}, "does not match"),
    ],
)
def test_refused(prometheus: Prometheus, how: dict[str, Any], says: str) -> None:
    """403 with AWS's words."""
    with pytest.raises(urllib.error.HTTPError) as raised:
        asked(f"{prometheus.workspace_url}/api/v1/query", {"query": "up"}, **{"keys": KEYS, **how})
    with raised.value as answer:
        assert answer.code == 403 and says in json.loads(answer.read())["message"]


def test_goes_wrong(prometheus: Prometheus) -> None:
    """Once each: a status, a partial answer, a page, a body without end, one that stalls, a broken connection. Then all is well."""
    url, words = f"{prometheus.url}/api/v1/query", {"query": "vector(1)"}
    prometheus.goes_wrong("status", status=503)
    with pytest.raises(urllib.error.HTTPError) as raised:
        asked(url, words)
    with raised.value as answer:
        assert answer.code == 503
    prometheus.goes_wrong("partial")
    assert "incomplete" in asked(url, words)["warnings"][0]
    for kind in ("html", "endless"):
        prometheus.goes_wrong(kind)
        with pytest.raises(ValueError):
            asked(url, words)
    for kind in ("stall", "cut"):
        prometheus.goes_wrong(kind, seconds=0.1)
        with pytest.raises(OSError):
            asked(url, words)
    assert asked(url, words)["status"] == "success"
    with pytest.raises(urllib.error.HTTPError) as raised:
        asked(url, {"query": "sum("})
    with raised.value as answer:
        assert json.loads(answer.read())["errorType"] == "bad_data"
