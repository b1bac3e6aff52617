"""Nodes that follow a HyperPod cluster of AWS's stand-in, until Ctrl-C: python -m tests.components.hyperpod_nodes --help"""

from __future__ import annotations

import argparse
import signal
import sys

from tests.components.aws.running import Aws
from tests.components.hyperpod_nodes.following import Follower, connect, following


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--endpoint", required=True, help="of AWS's stand-in: python -m tests.components.aws")
    options.add_argument("--cluster", required=True, help="the HyperPod cluster's name")
    options.add_argument("--region", default="us-east-1")
    options.add_argument("--kubeconfig", required=True, help="of somebody who may do everything")
    options.add_argument("--real", default="", help="the node of this Kubernetes that plays the first instance")
    words = options.parse_args()
    aws = Aws(words.endpoint, {}, words.region)
    follower = Follower(aws, words.cluster, connect(words.kubeconfig), region=words.region, real=words.real)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with following(follower):
        print("ready", flush=True)
        signal.pause()


if __name__ == "__main__":
    main()
