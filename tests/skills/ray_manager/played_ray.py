"""The module `ray` as assets/ray_nodes.py uses it, in the pods of a cluster without Ray: its nodes are what /tmp/nodes.json says."""

import json
import pathlib

__version__ = "2.60.0"


class NodeAffinitySchedulingStrategy:
    def __init__(self, node_id, soft):
        self.node_id = node_id


class Function:
    def options(self, scheduling_strategy):
        self.node_id = scheduling_strategy.node_id
        return self

    def remote(self):
        return self.node_id


def remote(**options):
    return lambda function: Function()


def init(**options):
    pass


def nodes():
    return json.loads(pathlib.Path("/tmp/nodes.json").read_text())


def cluster_resources():
    return {}


def get(task):
    return next(node["seen"] for node in nodes() if node["NodeID"] == task)


def wait(tasks, num_returns, timeout):
    return [task for task in tasks if get(task)], []
