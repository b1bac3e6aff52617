"""Jobs with nothing to find: resumed by more processes, started again by torchrun or in the process, moved by a Spot market; counters of faults that are zero.

The words of the three that do not run here: NVIDIA/nvidia-resiliency-ext's in-process restart and its nested restarter, SkyPilot's
controller of managed jobs, DeepSpeed's loss scaler and launcher.
"""

from __future__ import annotations

from tests.doctor_corpus.areas.elsewhere import joined, raised, when
from tests.doctor_corpus.areas.frameworks import OFFLINE
from tests.doctor_corpus.areas.healthy import HEALTHY
from tests.doctor_corpus.bench import Bench
from tests.doctor_corpus.launching import local, torchrun, waited
from tests.doctor_corpus.truth import case

SAVES = '"save_strategy": "steps", "save_steps": 6, "save_total_limit": 2'


@case("trainer-resumed-by-more-processes", **HEALTHY, proof=r"do not match the ones in[\s\S]*22/22")
def more_processes(bench: Bench) -> None:
    """transformers' Trainer goes on from a checkpoint of two processes with three: warnings, and then the end."""
    path = bench.script("hf")
    text = path.read_text().replace('"save_strategy": "no"', SAVES)
    path.write_text(
        text.replace('TrainingArguments("out",', 'TrainingArguments("out", max_steps=8,').replace(", num_train_epochs=2", "")
    )
    torchrun(bench, "train.py", procs=2, env=OFFLINE, log="first.log")
    path.write_text(
        text.replace(").train()", ").train(resume_from_checkpoint=True)").replace('"save_steps": 6', '"save_steps": 5')
    )
    bench.write(
        "train.log", torchrun(bench, "train.py", procs=3, env={**OFFLINE, "TRANSFORMERS_VERBOSITY": "info"}).read_bytes()
    )


RESUME = """
if os.path.exists("last.pt"):
    state = torch.load("last.pt", weights_only=True)
    self.model.load_state_dict(state["model"])
    logger.info("resumed from last.pt, which was saved after step %d", state["step"])
"""
STORE = """
# Each attempt has a store of its own: gloo finds addresses of the first one in the agent's.
attempt = int(os.environ["TORCHELASTIC_RESTART_COUNT"])
os.environ |= {"TORCHELASTIC_USE_AGENT_STORE": "False", "MASTER_PORT": str(int(os.environ["MASTER_PORT"]) + 1 + attempt)}
"""
ONCE = """
if step % 5 == 0 and self.rank == 0: torch.save({"model": self.model.state_dict(), "step": step}, "last.pt")
if step == 17 and self.rank == 2 and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
    raise OSError(116, "Stale file handle", "/mnt/nfs/tokens/part-00017.bin")
"""


@case("torchrun-starts-all-again", **HEALTHY, proof=r"Stale file handle[\s\S]*resumed from last\.pt[\s\S]*finished")
def started_again(bench: Bench) -> None:
    """Rank 2 meets a stale file handle; torchrun starts all ranks a second time, and they train to the end."""
    bench.script("ranked", main=STORE, setup=RESUME, loop=ONCE)
    flags = ("--standalone", "--max-restarts=1", "--monitor-interval=1")
    bench.write("train.log", torchrun(bench, "train.py", flags=flags).read_bytes())


COUNTERS = """
if iteration % 8 == 7:
    info(f"health: ranks_failed=0 errors=0 error_rate=0.0000 nan=0 inf=0 oom=0 ecc=0 xid=0 timeouts=0 nccl_aborts=0 (0 of {dist.get_world_size()} dead)")
    info("loader: 0 workers killed, 0 samples corrupt, 0 failed downloads, last error: none")
if iteration == 20:
    info("evaluation begins: no line until it is over")
    time.sleep(14)
    info("evaluation: 2048 of 2048 passed, 0 failed, fatal errors: 0, exact_match=0.412, worst-case perplexity inf is left out of the mean")
"""


@case("counters-of-faults-are-zero", **HEALTHY, proof="0 workers killed")
def counters(bench: Bench) -> None:
    """A monitor names every fault there is and counts none of them; an evaluation is silent for 14 s; the run ends with 0."""
    bench.script("caught", after=COUNTERS)
    folder = local(bench, "torchrun", "train.py", procs=3, options=("--max-restarts", "0"), env={"PG_TIMEOUT": "120"})
    waited(bench, folder)
    bench.keep_run(folder)


@case("restarted-inside-the-process", **HEALTHY, real=False, proof="after training is done")
def in_process(bench: Bench) -> None:
    """A rank of a Megatron job raises; NVIDIA's in-process restart aborts NCCL, all ranks begin the loop again from the last checkpoint and finish."""
    lines = [f"{when(3)},{100 + rank} - [NestedRestarter] name=[InProcess] state=[initialize] rank={rank}" for rank in range(8)]

    def iterations(first: int, last: int, begin: float) -> list[str]:
        return [
            f" [{when(begin + 9 * (i - first))}.{100000 + 7919 * i % 900000}] iteration {i:8d}/     600 | consumed samples: {512 * i:12d} | elapsed time per iteration (ms): {8871 + i % 17}.4 | learning rate: 1.500000E-04 | global batch size:   512 | lm loss: {3.4 - 0.002 * i:.6E} | loss scale: 1.0 | grad norm: 0.{381 + i % 40} | number of skipped iterations:   0 | number of nan iterations:   0 |"
            for i in range(first, last + 1)
        ]

    lines += iterations(501, 546, 60) + [
        f"  successfully saved checkpoint from iteration     540 to /lustre/ckpt [ t 1/1, p 1/1 ] in {11.2} s"
    ]
    trace = {
        '/opt/megatron-lm/megatron/training/training.py", line 2311, in train': "train_step(forward_step_func, train_data_iterator, model, optimizer, opt_param_scheduler, config)",
        '/opt/megatron-lm/megatron/core/datasets/indexed_dataset.py", line 512, in __getitem__': "sequence = self.bin_reader.read(dtype=dtype, count=length, offset=pointer)",
    }
    lines += [
        f"{when(481)},117 - inprocess.wrap - ERROR - rank=6 iteration=0 caught exception in wrapped function",
        *raised(trace, "OSError: [Errno 5] Input/output error", "[rank6]: "),
    ]
    lines += [
        f"{when(482)},{200 + rank} - inprocess.monitor_thread - WARNING - rank={rank} Interruption.EXCEPTION on rank 6: raising RankShouldRestart asynchronously"
        for rank in (2, 0, 7, 1, 3, 5, 4)
    ]
    for rank in (0, 1, 2, 3, 4, 5, 7):
        lines += [
            f"[rank{rank}]:[E1127 09:22:08.{rank}11208 ProcessGroupNCCL.cpp:1441] [PG ID 0 PG GUID 0(default_pg) Rank {rank}] ProcessGroupNCCL abort started, aborting 3 communicators, reason: in-process restart",
            f"node-1:{4410 + rank}:{4980 + rank} [{rank}] NCCL WARN Accept failed Connection reset by peer: communicator aborted",
        ]
    lines += [
        f"{when(484 + stage)},{300 + rank} - [NestedRestarter] name=[InProcess] state=[handling stage=[{name}]] rank={rank}"
        for stage, name in enumerate(("starting", "processing", "completed"))
        for rank in range(8)
    ]
    lines += [
        f"{when(489)},001 - inprocess.rank_assignment - INFO - active_world_size=8 terminated_ranks=set() iteration=1",
        "  loading distributed checkpoint from /lustre/ckpt at iteration 540",
        "  successfully loaded checkpoint from /lustre/ckpt [ t 1/1, p 1/1 ] at iteration 540",
    ]
    lines += iterations(541, 600, 540) + [
        "[after training is done] datetime: 2026-11-27 09:32:13 ",
        "  successfully saved checkpoint from iteration     600 to /lustre/ckpt [ t 1/1, p 1/1 ]",
    ]
    lines += [
        f"{when(1102)},{100 + rank} - [NestedRestarter] name=[InProcess] state=[finalized] rank={rank}" for rank in range(8)
    ]
    bench.write("megatron.log", joined(lines))


@case("spot-market-moved-job", **HEALTHY, real=False, proof="SUCCEEDED")
def moved(bench: Bench) -> None:
    """SkyPilot's controller finds the cluster preempted, has another one in a second region, and the job resumes there and succeeds."""
    name = "(llama-sft, pid=3921)"

    def steps(first: int, last: int) -> list[str]:
        return [
            f"{name} {{'loss': {1.62 - 0.0006 * i:.4f}, 'grad_norm': {0.4 + i % 9 / 100:.3f}, 'learning_rate': 9.{i % 10}e-06, 'epoch': {i / 1000:.3f}}}"
            for i in range(first, last, 10)
        ]

    run = [
        f"{name} W1127 09:24:02.117000 3921 torch/distributed/run.py:792] Setting OMP_NUM_THREADS environment variable for each process to be 1 in default",
        f"{name} no checkpoint in /checkpoints/llama-sft, training begins anew",
        *steps(10, 620),
    ]
    run += [
        f"{name} Saving model checkpoint to /checkpoints/llama-sft/checkpoint-600",
        f"{name} [rank3]:[W1127 10:40:51.290118 TCPStore.cpp:125] [c10d] recvValue failed on SocketImpl(fd=65, addr=[10.128.0.41]:40412, remote=[10.128.0.40]:8008): Connection reset by peer",
    ]
    run += [
        f"{name} W1127 10:40:51.902000 3921 torch/distributed/elastic/agent/server/api.py:719] Received 15 death signal, shutting down workers",
        "Connection to 34.122.71.9 closed by remote host.",
        "✗ Log tailing failed: the cluster is preempted. Waiting for the next recovery ⠋",
    ]
    run += [
        f"{name} W1127 11:02:40.404000 3921 torch/distributed/run.py:792] Setting OMP_NUM_THREADS environment variable for each process to be 1 in default",
        f"{name} resuming from /checkpoints/llama-sft/checkpoint-600",
        *steps(610, 1010),
    ]
    run += [
        f"{name} {{'train_runtime': 5817.4, 'train_samples_per_second': 22.0, 'train_loss': 1.311, 'epoch': 1.0}}",
        "✓ Job finished (status: SUCCEEDED).",
    ]
    bench.write("job-17.log", joined(run))

    def said(seconds: float, line: int, text: str, module: str = "controller.py") -> str:
        return f"I {when(seconds, '%m-%d %H:%M:%S')} {module}:{line}] {text}"

    control = [
        said(
            0,
            164,
            "Submitted managed job 17 (task: 0, name: 'llama-sft'); SKYPILOT_TASK_ID: sky-managed-2026-11-27-09-14-05-000000_llama-sft_17-0",
        ),
        said(1, 168, "Started monitoring."),
    ]
    control += [
        said(
            2,
            1311,
            "⚙︎ Launching managed job cluster on GCP us-central1 (us-central1-a, us-central1-b).",
            "cloud_vm_ray_backend.py",
        ),
        said(
            70,
            2114,
            "W google.api_core.exceptions.ResourceExhausted: 429 ZONE_RESOURCE_POOL_EXHAUSTED in us-central1-a, trying us-central1-b",
            "gcp/instance.py",
        ),
        said(560, 206, "Cluster launched: ['llama-sft-17']"),
    ]
    for i in range(12):
        control += [
            said(600 + 370 * i, 391, "=== Checking the job status... ===", "utils.py"),
            said(602 + 370 * i, 397, "Job status: JobStatus.RUNNING", "utils.py"),
            said(602 + 370 * i, 400, "=" * 34, "utils.py"),
        ]
    control += [
        said(5240, 391, "=== Checking the job status... ===", "utils.py"),
        said(5242, 412, "Failed to get job status: Failed to connect to the cluster. Retrying in 10 s...", "utils.py"),
        said(5270, 297, "Cluster is preempted or failed (status: STOPPED). Recovering..."),
        said(5282, 512, "Terminating the preempted cluster llama-sft-17.", "recovery_strategy.py"),
        said(
            5361,
            549,
            "Failed to launch in us-central1: no Spot capacity. Relaunching in the next region.",
            "recovery_strategy.py",
        ),
        said(6480, 316, "Recovered. Cluster launched in us-west1-b."),
    ]
    control += [
        line
        for i in range(10)
        for line in (
            said(6520 + 370 * i, 391, "=== Checking the job status... ===", "utils.py"),
            said(6522 + 370 * i, 397, "Job status: JobStatus.RUNNING", "utils.py"),
        )
    ]
    control += [
        said(10220, 397, "Job status: JobStatus.SUCCEEDED", "utils.py"),
        said(10224, 240, "Task 0 succeeded. Cleaning up..."),
        said(10290, 655, "Killing controller process 1170: done with exit code 0."),
    ]
    bench.write("controller-17.log", joined(control))


@case("deepspeed-overflows-then-done", **HEALTHY, real=False, proof="exits successfully")
def overflows(bench: Bench) -> None:
    """DeepSpeed's loss scale is found by overflows in the first steps; a worn cache is told, and every process exits successfully."""
    lines = [
        "[2026-11-27 09:14:05,402] [WARNING] [runner.py:220:fetch_hostfile] Unable to find hostfile, will proceed with training with local resources only.",
        "[2026-11-27 09:14:07,120] [INFO] [launch.py:146:main] WORLD INFO DICT: {'localhost': [0, 1, 2, 3]}",
    ]
    lines += [
        f"[2026-11-27 09:14:07,{131 + i}] [INFO] [launch.py:256:main] process {1200 + i} spawned with command: ['/usr/bin/python3', '-u', 'train.py', '--local_rank={i}', '--deepspeed_config', 'zero3.json']"
        for i in range(4)
    ]
    lines += [
        "[WARNING]  async_io requires the dev libaio .so object and headers but these were not found.",
        "[WARNING]  please install the libaio-dev package with apt",
        "[WARNING]  sparse_attn requires a torch version >= 1.5 and < 2.0 but detected 2.6",
    ] * 2
    for i in range(9):
        lines += [
            f"[2026-11-27 09:15:{10 + 3 * i},{214 + i}] [INFO] [loss_scaler.py:190:update_scale] [deepspeed] OVERFLOW! Rank {rank} Skipping step. Attempted loss scale: {2 ** (32 - i)}, reducing to {2 ** (31 - i)}"
            for rank in (0, 2, 1, 3)
        ]
    for i in range(10, 110):
        lines.append(
            f"[2026-11-27 09:{16 + i // 5}:{12 * i % 60:02d},014] [INFO] [logging.py:128:log_dist] [Rank 0] step={i}, skipped=9, lr=[1e-05], mom=[(0.9, 0.95)], loss {4.1 - 0.02 * i:.4f}"
        )
        if i % 20 == 0:
            lines.append(
                f"[2026-11-27 09:{16 + i // 5}:{12 * i % 60:02d},310] [WARNING] [stage3.py:2139:step] {i // 20} pytorch allocator cache flushes since last step. this happens when there is high memory pressure and is detrimental to performance. if this is happening frequently consider adjusting settings to reduce memory consumption."
            )
    lines.append(
        "[2026-11-27 09:38:02,011] [INFO] [loss_scaler.py:190:update_scale] [deepspeed] OVERFLOW! Rank 0 Skipping step. Attempted loss scale: 16777216, reducing to 8388608"
    )
    lines += [
        f"[2026-11-27 09:38:09,{400 + rank}] [INFO] [torch_checkpoint_engine.py:23:save] [Torch] Saved global_step110/zero_pp_rank_{rank}_mp_rank_00_optim_states.pt."
        for rank in range(4)
    ]
    lines += [
        f"[rank{rank}]:[W1127 09:38:11.{rank}81204 ProcessGroupNCCL.cpp:1496] Warning: WARNING: destroy_process_group() was not called before program exit, which can leak resources."
        for rank in (1, 0, 3, 2)
    ]
    lines += [
        f"[2026-11-27 09:38:{14 + turn},511] [INFO] [launch.py:351:main] Process {1200 + i} exits successfully."
        for turn, i in enumerate((0, 2, 3, 1))
    ]
    bench.write("deepspeed.log", joined(lines))
