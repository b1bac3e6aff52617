"""AWS on loopback, until stdin is closed or Ctrl-C: python -m tests.components.aws

The first line on stdout says where it is, as JSON: {"endpoint": ..., "registries": {region: "host:port"}}.
--help lists what can be told to it: POST ENDPOINT/_control/VERB with a JSON object.
"""

from __future__ import annotations

import inspect
import json
import signal
import sys
import tempfile
import threading
from pathlib import Path

from tests.components.aws import control, processes, server
from tests.components.aws.needs import reason_against
from tests.components.aws.world import REGIONS, World


def main() -> None:
    if "--help" in sys.argv:
        print(__doc__, *(verb_line(name) for name in sorted(control.VERBS)), sep="\n")
        return
    if reason := reason_against():
        sys.exit(reason)
    done = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: done.set())
    threading.Thread(target=end_with_stdin, args=(done,), daemon=True).start()
    with tempfile.TemporaryDirectory(prefix="trainyard-aws-", ignore_cleanup_errors=True) as folder:
        run(Path(folder), done)


def verb_line(name: str) -> str:
    """The verb with its arguments, and the first line of what is said of it."""
    given = [str(each).partition(":")[0] for each in inspect.signature(control.VERBS[name]).parameters.values()][1:]
    return f"  {name}({', '.join(given)})  {(control.VERBS[name].__doc__ or '').partition(chr(10))[0]}"


def end_with_stdin(done: threading.Event) -> None:
    sys.stdin.buffer.read()
    done.set()


def run(folder: Path, done: threading.Event) -> None:
    """Both servers, the endpoint, and the line that says so; then wait."""
    moto_port, storage_port = processes.free_port(), processes.free_port()
    moto_log, registry_log = folder / "moto.log", folder / "registry.log"
    world = World(moto_port, storage_port, folder / "state")
    server.open_all(world, REGIONS)
    moto = processes.start_moto(moto_port, moto_log, world.endpoint)
    storage = processes.start_registry(storage_port, folder, registry_log)
    try:
        processes.wait_until_it_answers(f"http://127.0.0.1:{storage_port}/v2/", storage, registry_log)
        processes.wait_until_it_answers(f"http://127.0.0.1:{moto_port}/moto-api/data.json", moto, moto_log)
        registries = {region: world.registry_host(region) for region in REGIONS}
        print(json.dumps({"endpoint": world.endpoint, "registries": registries}), flush=True)
        done.wait()
    finally:
        world.codebuild.end()
        processes.stop(moto)
        processes.stop(storage)


if __name__ == "__main__":
    main()
