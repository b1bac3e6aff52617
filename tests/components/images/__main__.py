"""Engines, a base image and a small torch for tests of images.

    python -m tests.components.images build              # what the cache lacks; from nothing about 5 minutes on two cores
    python -m tests.components.images build buildkit
    python -m tests.components.images folder buildkit    # its place in the cache
    python -m tests.components.images up                 # a registry, the mirror, BuildKit and the old Docker, until Ctrl-C

It needs root.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
from contextlib import ExitStack, suppress

from tests.components.images import find_links, parts
from tests.components.images.buildkit import buildkit
from tests.components.images.keeping import ComponentError
from tests.components.images.mirror import mirror
from tests.components.images.needs import reason_against
from tests.components.images.old_docker import old_docker
from tests.components.images.registry import registry


def build(words: argparse.Namespace) -> int:
    wanted = words.part or parts.ALL
    if unknown := set(wanted) - set(parts.MAKERS):
        print(f"no such part: {', '.join(sorted(unknown))} (there are {', '.join(parts.MAKERS)})", file=sys.stderr)
        return 2
    if reason := reason_against(wanted):
        print(reason, file=sys.stderr)
        return 1
    parts.build(wanted)
    return 0


def folder(words: argparse.Namespace) -> int:
    print(parts.folder(words.part))
    return 0 if parts.folder(words.part).is_dir() else 1


def up(words: argparse.Namespace) -> int:
    if code := build(argparse.Namespace(part=[])):
        return code
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with suppress(KeyboardInterrupt), ExitStack() as running:
        url = running.enter_context(find_links.served(parts.folder("small-torch")))
        hub = running.enter_context(mirror(url))
        plain = running.enter_context(registry())
        engine = running.enter_context(buildkit(hub.address))
        docker = running.enter_context(old_docker(hub.address))
        print(f"export BUILDKIT_HOST={engine.address}", f"export DOCKER_HOST={docker.host}", sep="\n")
        print(
            f"buildctl={engine.buildctl}",
            f"docker={docker.program}",
            f"registry={plain.address}",
            f"mirror={hub.address}",
            sep="\n",
        )
        sys.stdout.flush()
        signal.pause()
    return 0


def parser() -> argparse.ArgumentParser:
    shell = argparse.ArgumentParser(
        "python -m tests.components.images", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = shell.add_subparsers(required=True, metavar="build | folder | up")
    make = verbs.add_parser("build", help="build what the cache lacks")
    make.add_argument("part", nargs="*", help=f"of {', '.join(parts.MAKERS)}; default: all but new-docker")
    make.set_defaults(verb=build)
    where = verbs.add_parser("folder", help="the place of a part in the cache; exit 1 where it is not built")
    where.add_argument("part", choices=tuple(parts.MAKERS))
    where.set_defaults(verb=folder)
    verbs.add_parser("up", help="start everything, print where it is, until Ctrl-C").set_defaults(verb=up)
    return shell


def main() -> int:
    words = parser().parse_args()
    try:
        code: int = words.verb(words)
    except (ComponentError, OSError, subprocess.CalledProcessError) as error:
        print(error, getattr(error, "stderr", None) or "", sep="\n", file=sys.stderr)
        return 1
    return code


if __name__ == "__main__":
    sys.exit(main())
