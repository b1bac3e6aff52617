"""Play HyperPod's training operator: python -m tests.components.hyperpod [--kubeconfig FILE]"""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

import yaml
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException

from tests.components.hyperpod.controller import Controller


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--kubeconfig", help="of somebody who may do everything; the current one")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    api = config.new_client_from_config(options.parse_args().kubeconfig)
    add_kind(api)
    print("ready", flush=True)
    Controller(api).run()


def add_kind(api: client.ApiClient) -> None:
    """The CRD, unless it is there."""
    body = yaml.safe_load((Path(__file__).parent / "crd.yaml").read_text())
    try:
        client.ApiextensionsV1Api(api).create_custom_resource_definition(body)
    except ApiException as error:
        if error.status != 409:
            raise


if __name__ == "__main__":
    main()
