"""Runs on the head, sent there as `python -c`: what Ray counts on each node, and the devices that a task on that node sees.

Ray's own count is no proof: KubeRay tells it how many GPUs the pod's limits name. The device files are looked at on every node.
"""

import glob
import json
import subprocess
import sys

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

QUERY = "utilization.gpu,memory.used,memory.total"


@ray.remote(num_cpus=0)
def look():
    seen = {"nvidia": len(glob.glob("/dev/nvidia[0-9]*")), "neuron": len(glob.glob("/dev/neuron[0-9]*")), "gpus": []}
    try:
        words = ["nvidia-smi", "--query-gpu=" + QUERY, "--format=csv,noheader,nounits"]
        done = subprocess.run(words, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return seen
    for line in done.stdout.splitlines() if done.returncode == 0 else []:
        busy, used, total = line.split(",")
        seen["gpus"].append(
            {"utilization_percent": busy.strip(), "memory_used_mib": used.strip(), "memory_total_mib": total.strip()}
        )
    return seen


def on(node):
    return look.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote()


ray.init(address="auto", logging_level="ERROR", log_to_driver=False)
asked = [(node, on(node)) for node in ray.nodes() if node["Alive"]]
done, _ = ray.wait([task for _, task in asked], num_returns=len(asked), timeout=float(sys.argv[1]))
rows = [
    {
        "host": node["NodeManagerHostname"],
        "address": node["NodeManagerAddress"],
        "resources": node["Resources"],
        "seen": ray.get(task) if task in done else None,
    }
    for node, task in asked
]
print(json.dumps({"ray_version": ray.__version__, "resources": ray.cluster_resources(), "nodes": rows}))
