"""Ray Train, DeepSpeed over pdsh, Megatron-LM, Slurm, Karpenter and webhooks: simulations in the words of public sources.

Sources: Ray's documentation of its memory monitor and ray.train.v2's errors, deepspeedai/DeepSpeed#1995 and huggingface/accelerate#1114 (pdsh),
Megatron-LM's rerun_state_machine.py, Slurm's srun and slurmstepd, kubernetes-sigs/karpenter's events, aws-ia/terraform-aws-eks-blueprints#1171 (EFS),
usestrix/strix#483 (layers), Kubernetes' admission plugin for webhooks.
"""

from __future__ import annotations

from tests.doctor_corpus.areas.gpu import traceback
from tests.doctor_corpus.areas.nodes import AWAY, OTHERS, SECOND, peers_lost
from tests.doctor_corpus.areas.placement import others_wait
from tests.doctor_corpus.bench import Bench
from tests.doctor_corpus.kube import Fleet
from tests.doctor_corpus.rank_logs import at
from tests.doctor_corpus.truth import case

RAY_IPS = ("10.0.58.17", "10.0.62.231")
STOP, AGAIN = ("STOP",), ("RESTART",)
EVERY = {"rank": "all", "also_rank": ("any", None, 0), "real": False}
ON_SECOND = {"rank": 4, "also_rank": OTHERS, "real": False}


def ray_began(procs: int = 2, steps: int = 30) -> list[str]:
    """The driver's log: a controller starts its workers, which report."""
    lines = [
        f"(TrainController pid=4102) Attempting to start training worker group of size {2 * procs} with the following resources: [{{'GPU': 1}}] * {2 * procs}",
        f"(TrainController pid=4102) Started training worker group of size {2 * procs}: ",
    ]
    lines += [
        f"(TrainController pid=4102) - (ip={RAY_IPS[rank // procs]}, pid={11360 + rank}) world_rank={rank}, local_rank={rank % procs}, node_rank={rank // procs}"
        for rank in range(2 * procs)
    ]
    who = f"(RayTrainWorker pid=11360, ip={RAY_IPS[0]})"
    lines += [f"{who} {{'epoch': 1, 'step': {50 * i}, 'loss': {2.4 - 0.011 * i:.4f}}}" for i in range(1, steps)]
    return lines


@case(
    "ray-worker-out-of-memory",
    cause="host-oom",
    rank=3,
    also_rank=("any", 2),
    restart="RESTART",
    also_restart=("STOP", *AWAY),
    real=False,
    proof="memory usage threshold",
)
def ray_memory(bench: Bench) -> None:
    """Ray's memory monitor kills the worker of rank 3; the kernel has killed nobody."""
    text = f"Memory on the node (IP: {RAY_IPS[1]}, ID: e5d953ef03e55e26f13973ea1b5a0fd0ecc729cd820bc89e4aa50451) where the task (actor ID: 43534ce9375fa8e4cd0d0ec285d9, name=RayTrainWorker.__init__, pid=11363, memory used=91.25GB) was running was 182.71GB / 188.80GB (0.967744), which exceeds the memory usage threshold of 0.95. Ray killed this worker (ID: 6f2ec5c8b0d5f5a66572) because it was the most recently scheduled task; to see more information about memory usage on this node, use `ray logs raylet.out -ip {RAY_IPS[1]}`."
    lines = ray_began()
    lines += [
        f"(raylet, ip={RAY_IPS[1]}) [2026-11-27 11:02:41,229 E 1008 1008] (raylet) node_manager.cc:3250: 1 Workers (tasks / actors) killed due to memory pressure (OOM), 0 Workers crashed due to other reasons at node (ID: e5d953ef03e55e26f139, IP: {RAY_IPS[1]}) over the last time period.",
        "(TrainController pid=4102) [FailurePolicy] RAISE",
        "(TrainController pid=4102)   Source: worker group",
        "(TrainController pid=4102)   Error count: 1 (max allowed: 0)",
        "Traceback (most recent call last):",
        '  File "/workspace/finetune.py", line 141, in <module>',
        "    result = trainer.fit()",
        "ray.train.WorkerGroupError: Training failed due to worker errors:",
        "[Rank 3 Error Snippet]:",
        "ray.exceptions.OutOfMemoryError: Task was killed due to the node running low on memory.",
        text,
        "Top 10 memory users:",
        "PID\tMEM(GB)\tCOMMAND",
        "11363\t91.25\tray::RayTrainWorker.run",
        "11362\t61.10\tray::RayTrainWorker.run",
    ]
    bench.write("ray-driver.log", "\n".join(lines) + "\n")


@case(
    "ray-train-one-rank-raises", cause="script-error", rank=2, restart="STOP", also_restart=AGAIN, real=False, proof="Rank 2 E"
)
def ray_error(bench: Bench) -> None:
    """Rank 2 of a Ray Train job raises a KeyError; ranks 0 and 3 raise what they saw of it."""
    lines = ray_began()
    lost = "torch.distributed.DistBackendError: NCCL error in: ProcessGroupNCCL.cpp:3356, remote process exited or there was a network error, NCCL version 2.27.5"
    shown = {0: lost, 2: "KeyError: 'answer_start'", 3: lost}
    lines += ["(TrainController pid=4102) [FailurePolicy] RAISE", "(TrainController pid=4102)   Source: worker group"]
    lines += ["ray.train.WorkerGroupError: Training failed due to worker errors:"]
    for rank, error in shown.items():
        where = "collate" if rank == 2 else "train_step"
        code = '    start = row["answer_start"]' if rank == 2 else "    loss.backward()"
        lines += [f"[Rank {rank} Error Snippet]:", "Traceback (most recent call last):"]
        lines += [f'  File "/workspace/finetune.py", line {80 + len(where)}, in {where}', code, error]
    bench.write("ray-driver.log", "\n".join(lines) + "\n")


@case(
    "pdsh-one-rank-out-of-gpu-memory",
    cause="gpu-oom",
    rank=11,
    node="gpu-12",
    restart="STOP",
    also_restart=("RESTART",),
    real=False,
    proof="gpu-12: ssh exited",
)
def pdsh(bench: Bench) -> None:
    """DeepSpeed over pdsh on two nodes: local rank 3 of the second one has no GPU memory left, its launcher kills the rest there."""
    lines = [
        "[2026-11-27 09:14:11,102] [INFO] [multinode_runner.py:86:get_cmd] Running on the following workers: gpu-11,gpu-12",
        "[2026-11-27 09:14:11,103] [INFO] [runner.py:610:main] cmd = pdsh -S -f 1024 -w gpu-11,gpu-12 export NCCL_DEBUG=WARN; cd /home/ml/sft; python -u -m deepspeed.launcher.launch --node_rank=%n --master_addr=10.4.0.11 --master_port=29500 sft.py",
    ]
    lines += [
        f"gpu-11: {{'loss': {1.9 - 0.01 * i:.4f}, 'grad_norm': 0.71, 'learning_rate': 1e-05, 'epoch': {0.02 * i:.2f}}}"
        for i in range(1, 44)
    ]
    lines += [
        "gpu-12: [rank11]: Traceback (most recent call last):",
        'gpu-12: [rank11]:   File "/home/ml/sft/sft.py", line 97, in <module>',
        "gpu-12: [rank11]:     model_engine.backward(loss)",
        "gpu-12: [rank11]: torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 4.63 GiB. GPU 3 has a total capacity of 79.11 GiB of which 2.04 GiB is free. Process 41871 has 77.05 GiB memory in use.",
        *(
            f"gpu-12: [2026-11-27 10:40:15,30{i}] [INFO] [launch.py:319:sigkill_handler] Killing subprocess {41868 + i}"
            for i in range(8)
        ),
        "gpu-12: [2026-11-27 10:40:21,877] [ERROR] [launch.py:325:sigkill_handler] ['/usr/bin/python3', '-u', 'sft.py', '--local_rank=7'] exits with return code = 1",
        "pdsh@gpu-11: gpu-12: ssh exited with exit code 1",
    ]
    for rank in (0, 4):
        lines += [
            f"gpu-11: [rank{rank}]: torch.distributed.DistBackendError: NCCL error in: ProcessGroupNCCL.cpp:3356, remote process exited or there was a network error, NCCL version 2.27.5"
        ]
    lines += ["pdsh@gpu-11: gpu-11: ssh exited with exit code 1"]
    bench.write("deepspeed.log", "\n".join(lines) + "\n")


@case(
    "megatron-unexpected-result",
    cause="nan-loss",
    also=("bad-batch",),
    rank=5,
    restart="RESTART_OLDER",
    also_restart=("RESTART", "STOP", *AWAY),
    real=False,
    proof="Unexpected result nan",
)
def megatron(bench: Bench) -> None:
    """Megatron-LM's check of gradients finds NaN on rank 5 before the reduction; the other ranks lose it."""
    fleet = Fleet(bench, seed=81)
    fleet.steps(last=44)
    what = "RuntimeError: Rank 5, node llama-8b-worker-0, device 1, iteration 45: Unexpected result nan (message='found NaN in local grad norm for bucket #0 in backward pass before data-parallel communication collective')"
    traceback(fleet, 5, what, where="finalize_model_grads(model)")
    fleet.torchrun_failed(1, 5)
    fleet.ended(1, 1)
    peers_lost(fleet)
    fleet.write()


@case(
    "karpenter-consolidates-node",
    cause="pod-evicted",
    also=("preempted", "node-lost"),
    **ON_SECOND,
    restart="RESTART",
    also_restart=AWAY,
    node=SECOND,
    proof="Underutilized",
)
def karpenter(bench: Bench) -> None:
    """Karpenter finds the second node underutilized, taints it and evicts the worker to remove the node."""
    fleet = Fleet(bench, seed=82)
    fleet.steps()
    peers_lost(fleet)
    fleet.say(4, "torch.distributed.elastic.multiprocessing.api.SignalException: Process 1 got signal: 15")
    fleet.ended(1, 143, "Error", after=7190)
    fleet.nodes[1]["spec"]["taints"] = [{"key": "karpenter.sh/disrupted", "effect": "NoSchedule"}]
    told = {"kind": "Node", "normal": True, "source": "karpenter"}
    fleet.event(1, "DisruptionTerminating", "Disrupting Node: Underutilized", **told, after=7140)
    fleet.event(1, "Evicted", "Evicted pod: Underutilized", normal=True, source="karpenter", after=7150)
    message = "Eviction API: evicting"
    condition = {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI", "message": message}
    fleet.pods[1]["status"]["conditions"].append({**condition, "lastTransitionTime": at(7150)})
    fleet.write()


@case("efs-access-denied", cause="mount-failed", also=("file-permission",), **EVERY, restart="STOP", proof="access denied by")
def efs(bench: Bench) -> None:
    """The file system's policy lets neither node mount its access point."""
    fleet, path = Fleet(bench, seed=83), "/var/lib/kubelet/pods/b9b49102/volumes/kubernetes.io~csi/efs-data/mount"
    for i in (0, 1):
        fleet.waiting(i, "ContainerCreating")
        text = f'MountVolume.SetUp failed for volume "efs-data" : rpc error: code = Internal desc = Could not mount "fs-00703eb8b7961a9af:/" at "{path}": mount failed: exit status 32 Mounting command: mount Mounting arguments: -t efs -o accesspoint=fsap-0c180bb904c5be851,tls fs-00703eb8b7961a9af:/ {path} Output: Could not start amazon-efs-mount-watchdog, unrecognized init system "aws-efs-csi-dri" b\'mount.nfs4: access denied by server while mounting 127.0.0.1:/\''
        fleet.event(i, "FailedMount", text, count=11)
    fleet.write()


@case(
    "layer-does-not-fit-node",
    cause="image-pull-failed",
    also=("disk-full",),
    **ON_SECOND,
    restart="RESTART_ELSEWHERE",
    also_restart=("RESTART", "STOP"),
    node=SECOND,
    proof="no space left on device",
)
def layer(bench: Bench) -> None:
    """The second node's disk is too full to unpack the image's largest layer."""
    fleet = Fleet(bench, seed=84)
    image = fleet.pods[1]["spec"]["containers"][0]["image"]
    text = f'failed to pull and unpack image "{image}": failed to extract layer sha256:0465d356eb1de54a583b42b392bd: write /var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots/105/fs/usr/local/lib/python3.11/dist-packages/torch/lib/libtorch_cuda.so: no space left on device: unknown'
    fleet.waiting(1, "ImagePullBackOff", f'Back-off pulling image "{image}"')
    fleet.event(1, "Failed", f'Failed to pull image "{image}": {text}', count=4)
    fleet.event(1, "Failed", "Error: ErrImagePull", count=4)
    others_wait(fleet, 1)
    fleet.write()


@case(
    "webhook-does-not-answer", cause="admission-refused", **EVERY, restart="RESTART", also_restart=STOP, proof="failed calling"
)
def webhook(bench: Bench) -> None:
    """No pod can be created: the service of a mutating webhook has no endpoints left."""
    fleet = Fleet(bench, seed=85)
    text = 'Internal error occurred: failed calling webhook "mpod.kb.io": failed to call webhook: Post "https://queue-webhook-service.queue-system.svc:443/mutate--v1-pod?timeout=10s": no endpoints available for service "queue-webhook-service"'
    told = {"kind": "PyTorchJob", "source": "pytorchjob-controller", "count": 17}
    fleet.event("llama-8b", "FailedCreatePod", f"Error creating: {text}", **told)
    for many in (fleet.names, fleet.hosts, fleet.pods, fleet.nodes, fleet.logs):
        many.clear()
    fleet.write()


@case(
    "slurm-node-failure",
    cause="node-lost",
    also=("node-not-ready",),
    **ON_SECOND,
    restart="RESTART",
    also_restart=AWAY,
    node="gpu-b07",
    proof="NODE FAILURE",
)
def slurm_node(bench: Bench) -> None:
    """Slurm loses the second node and cancels the step; its ranks say nothing."""
    lines = [f"0: [rank0] epoch 3 | step {2210 + i} | loss {2.51 - 0.002 * i:.3f} | 18390 tok/s" for i in range(40)]
    lines += [
        "srun: error: Node failure on gpu-b07",
        "srun: Job step aborted: Waiting up to 32 seconds for job step to finish.",
        "0: slurmstepd: error: *** STEP 5120.0 ON gpu-b06 CANCELLED AT 2026-11-27T11:02:19 DUE TO NODE FAILURE, SEE SLURMCTLD LOG FOR DETAILS ***",
        "srun: error: gpu-b06: tasks 0-3: Killed",
        "slurmstepd: error: *** JOB 5120 ON gpu-b06 CANCELLED AT 2026-11-27T11:02:19 DUE TO NODE FAILURE, SEE SLURMCTLD LOG FOR DETAILS ***",
    ]
    bench.write("slurm-5120.out.log", "\n".join(lines) + "\n")
