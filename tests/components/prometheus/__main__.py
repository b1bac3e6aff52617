"""Prometheus on loopback, until stdin is closed or Ctrl-C: python -m tests.components.prometheus [FILE of metrics]

The first line on stdout says where it is, as JSON: url, workspace_url, region. POST URL/_control/metrics with the exporter's text,
URL/_control/wrong with {"kind": ...}.
"""

from __future__ import annotations

import json
import signal
import sys
import tempfile
from pathlib import Path

from tests.components.prometheus.program import reason_against
from tests.components.prometheus.running import running


def main() -> None:
    if reason := reason_against():
        sys.exit(reason)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with tempfile.TemporaryDirectory(prefix="trainyard-prometheus-") as folder, running(Path(folder)) as prometheus:
        prometheus.front.exported = Path(sys.argv[1]).read_text() if sys.argv[1:] else ""
        found = {"url": prometheus.url, "workspace_url": prometheus.workspace_url, "region": prometheus.front.region}
        print(json.dumps(found), flush=True)
        sys.stdin.buffer.read()


if __name__ == "__main__":
    main()
