"""A real Kubernetes cluster on this machine, from nothing to ready: control plane, a real node, pretended GPU nodes, operators.

    python -m tests.components.cluster up              # the first time builds everything: about 25 minutes on two cores
    export KUBECONFIG=$(python -m tests.components.cluster kubeconfig)
    kubectl get nodes -L type,node.kubernetes.io/instance-type,topology.kubernetes.io/zone
    kubectl apply -f tests/components/cluster/examples/pytorchjob.yaml
    python -m tests.components.cluster status          # what runs; exit 1 where something does not
    python -m tests.components.cluster down            # stops and removes all of it; the cache stays

    python -m tests.components.cluster up --operators kuberay --nodes 2 --no-real-node
    python -m tests.components.cluster build           # only what is missing in the cache

It needs root.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

from tests.components.cluster import build
from tests.components.cluster.needs import reason_against
from tests.components.cluster.place import FOR_PEOPLE, Place
from tests.components.cluster.running import Cluster
from tests.components.cluster.status import recorded
from tests.components.cluster.steps import ClusterError

PLACE = Place(FOR_PEOPLE)
BY_DEFAULT = build.BUILT_IN_ORDER


def up(words: argparse.Namespace) -> int:
    cluster = Cluster(PLACE, tuple(filter(None, words.operators.split(","))), not words.no_real_node, words.nodes)
    if reason := reason_against(cluster.components()):
        print(reason, file=sys.stderr)
        return 1
    began = time.monotonic()
    cluster.up()
    for name, seconds in cluster.seconds.items():
        print(f"{name:16}{seconds:6.1f} s", file=sys.stderr)
    print(f"ready after {time.monotonic() - began:.1f} s", file=sys.stderr)
    print(f"export KUBECONFIG={cluster.kubeconfig}")
    return 0


def down(_: argparse.Namespace) -> int:
    Cluster(PLACE).down()
    return 0


def status(_: argparse.Namespace) -> int:
    found = recorded(PLACE)
    for name, lives in found.items():
        print(f"{name:28}{'runs' if lives else 'ENDED, see ' + str(PLACE.state / 'log' / name) + '.log'}")
    if not found:
        print("no cluster")
        return 1
    print(Cluster(PLACE).kubectl("get", "nodes", "--label-columns=type,node.kubernetes.io/instance-type"), end="")
    return 0 if all(found.values()) else 1


def build_only(words: argparse.Namespace) -> int:
    wanted = words.component or BY_DEFAULT
    if unknown := set(wanted) - set(build.BUILT_IN_ORDER):
        print(f"no such component: {', '.join(unknown)}", file=sys.stderr)
        return 2
    if reason := reason_against(wanted):
        print(reason, file=sys.stderr)
        return 1
    build.build(wanted)
    return 0


def folder(words: argparse.Namespace) -> int:
    if words.component not in build.BUILT_IN_ORDER:
        print(f"no such component: {words.component}", file=sys.stderr)
        return 2
    print(build.folder(words.component))
    return 0


def volumes(words: argparse.Namespace) -> int:
    cluster = Cluster(PLACE)
    if not cluster.kubectl("get", "namespace", words.namespace, "--ignore-not-found"):
        cluster.make_namespace(words.namespace)
    print("\n".join(cluster.make_volumes(words.namespace, words.count)))
    return 0


def kubeconfig(_: argparse.Namespace) -> int:
    print(PLACE.kubeconfig)
    return 0 if PLACE.kubeconfig.exists() else 1


def parser() -> argparse.ArgumentParser:
    shell = argparse.ArgumentParser(
        "python -m tests.components.cluster", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = shell.add_subparsers(required=True, metavar="up | down | status | build | folder | volumes | kubeconfig")
    start = verbs.add_parser("up", help="build what is missing, start, print the KUBECONFIG line")
    start.add_argument(
        "--operators",
        default=",".join(build.OPERATORS),
        help="of training, jobset, trainer (needs jobset), kuberay; default: all",
    )
    start.add_argument("--nodes", type=int, default=4, help="pretended nodes of each instance type (default 4)")
    start.add_argument("--no-real-node", action="store_true", help="without containerd, kubelet, DNS")
    start.set_defaults(verb=up)
    verbs.add_parser("down", help="stop and remove everything but the cache").set_defaults(verb=down)
    verbs.add_parser("status", help="what runs; exit 1 where something does not").set_defaults(verb=status)
    make = verbs.add_parser("build", help="build what the cache lacks")
    make.add_argument("component", nargs="*", help=f"of {', '.join(build.BUILT_IN_ORDER)}; default: all")
    make.set_defaults(verb=build_only)
    where = verbs.add_parser("folder", help="the place of a component in the cache")
    where.add_argument("component")
    where.set_defaults(verb=folder)
    shared = verbs.add_parser("volumes", help="make volumes of the class test-shared for a namespace, which is made too")
    shared.add_argument("namespace")
    shared.add_argument("count", type=int, nargs="?", default=1)
    shared.set_defaults(verb=volumes)
    verbs.add_parser("kubeconfig", help="the path of the administrator's kubeconfig").set_defaults(verb=kubeconfig)
    return shell


def main() -> int:
    words = parser().parse_args()
    try:
        code: int = words.verb(words)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    except (ClusterError, subprocess.CalledProcessError) as error:
        print(error, *getattr(error, "__notes__", [getattr(error, "stderr", None) or ""]), sep="\n", file=sys.stderr)
        return 1
    return code


if __name__ == "__main__":
    sys.exit(main())
