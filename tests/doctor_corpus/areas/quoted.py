"""Six jobs in the words of public issues: Slurm's time limit, NCCL's shared memory, a token outside the vocabulary, DeepSpeed's arithmetic, HyperPod's auto-resume, CUDA's error 802.

Sources: desihub/desitarget#628 and ZettaAI/zetta_utils#671 (time limit), aws-neuron/neuronx-nemo-megatron#28 (NeMo's progress), pytorch/ci-infra#490 (shared memory),
axolotl-ai-cloud/axolotl#568 and tloen/alpaca-lora#275 (vocabulary), bigcode-project/starcoder#77 and deepspeedai/DeepSpeed#6914 (batch sizes),
aws-samples' test of llama3 70B on HyperPod (auto-resume), huggingface/huggingface_hub#4134 and hiyouga/LlamaFactory#8968 (802).
"""

from __future__ import annotations

from tests.doctor_corpus.areas.elsewhere import joined
from tests.doctor_corpus.areas.nodes import AWAY, OTHERS, SECOND
from tests.doctor_corpus.bench import Bench
from tests.doctor_corpus.kube import Fleet
from tests.doctor_corpus.truth import case

AGAIN = ("RESTART",)


@case(
    "nemo-meets-time-limit",
    cause="deadline",
    rank="all",
    also_rank=("any", None, "launcher", 0),
    restart="RESTART",
    also_restart=("STOP",),
    real=False,
    proof="DUE TO TIME LIMIT",
)
def time_limit(bench: Bench) -> None:
    """Slurm ends a NeMo job on two nodes at its time limit, in the middle of an epoch; ranks that die later complain of their peers."""
    lines = [
        "0: [NeMo I 2026-11-27 09:15:40 exp_manager:396] Experiments will be logged at /lustre/exp/gpt_2b/results",
        "0: [NeMo W 2026-11-27 09:15:40 exp_manager:835] There were no checkpoints found in checkpoint_dir or no checkpoint folder at checkpoint_dir :/lustre/exp/gpt_2b/results/checkpoints. Training from scratch.",
        *(
            f"{rank}: Initializing distributed: GLOBAL_RANK: {rank}, MEMBER: {rank + 1}/16"
            for rank in (0, 3, 1, 2, 9, 8, 4, 5, 7, 6, 11, 10, 13, 12, 14, 15)
        ),
        "0: [NeMo W 2026-11-27 09:16:31 nemo_logging:349] /usr/local/lib/python3.10/dist-packages/torch/distributed/c10d_logger.py:83: FutureWarning: torch.distributed._all_gather_base is a private function and will be deprecated.",
    ]
    lines += [
        f"0: Epoch 0: :   {i // 20}%|▏         | {i}/20000 [{i * 14 // 3600}:{i * 14 // 60 % 60:02d}:{i * 14 % 60:02d}<75:{59 - i % 60:02d}:31, 14.05s/it, v_num=, reduced_train_loss={9.1 - 0.0042 * i:.3f}, global_step={i}.0, consumed_samples={256 * i}.0, train_step_timing in s=14.{i % 10}0]"
        for i in range(1, 1020, 4)
    ]
    lines += [
        "srun: Job step aborted: Waiting up to 47 seconds for job step to finish.",
        "slurmstepd: error: *** JOB 494583 ON dgx-021 CANCELLED AT 2026-11-27T13:15:37 DUE TO TIME LIMIT ***",
        "0: slurmstepd: error: *** STEP 494583.0 ON dgx-021 CANCELLED AT 2026-11-27T13:15:37 DUE TO TIME LIMIT ***",
        "9: [rank9]:[W1127 13:15:39.204118713 TCPStore.cpp:125] [c10d] recvValue failed on SocketImpl(fd=112, addr=[dgx-022]:51714, remote=[dgx-021]:29500): Connection reset by peer",
        '13: [rank13]:[W1127 13:15:39.511740021 ProcessGroupNCCL.cpp:1771] [PG ID 0 PG GUID 0 Rank 13] Failed to check the "should dump" flag on TCPStore, (maybe TCPStore server has shut down too early), with error: Connection reset by peer',
        "10: dgx-022:88104:89311 [2] misc/socket.cc:58 NCCL WARN socketProgress: Connection closed by remote peer dgx-021<43718>",
        "srun: error: dgx-021: tasks 0-7: Terminated",
        "srun: error: dgx-022: tasks 8-9,11,14: Terminated",
        "srun: error: dgx-022: tasks 10,12-13,15: Killed",
        "srun: Terminating StepId=494583.0",
    ]
    bench.write("slurm-494583.out.log", joined(lines))


@case(
    "nccl-extends-no-shared-memory",
    cause="nccl-error",
    also=("disk-full",),
    rank=0,
    also_rank=("any", "all"),
    restart="STOP",
    also_restart=AWAY,
    real=False,
    proof="failed to extend /dev/shm/nccl-",
)
def shared_memory(bench: Bench) -> None:
    """A container with 64 MiB of /dev/shm: NCCL cannot make its segments on rank 0, and its three peers lose it in the start."""
    host = "resnet-7d6c-workflow"
    lines = [
        "W1127 09:14:20.118000 17 torch/distributed/run.py:792] Setting OMP_NUM_THREADS environment variable for each process to be 1 in default, to avoid your system being overloaded, please further tune the variable for optimal performance in your application as needed.",
        *(f"{host}:{2016 + rank}:{2016 + rank} [{rank}] NCCL INFO cudaDriverVersion 12080" for rank in range(4)),
        *(f"{host}:{2016 + rank}:{2235 + rank} [{rank}] NCCL INFO Using network Socket" for rank in range(4)),
        *(
            f"{host}:{2016 + rank}:{2235 + rank} [{rank}] NCCL INFO Channel 0{channel} : {rank}[{rank}] -> {(rank + 1) % 4}[{(rank + 1) % 4}] via SHM/direct/direct"
            for rank in range(4)
            for channel in (0, 1)
        ),
        "",
        f"[2026-11-27 09:14:41] {host}:2016:2235 [0] misc/shmutils.cc:88 NCCL WARN Error: failed to extend /dev/shm/nccl-WU88OE to 9637892 bytes, error: No space left on device (28)",
        "",
        f"[2026-11-27 09:14:41] {host}:2016:2235 [0] misc/shmutils.cc:132 NCCL WARN Error while creating shared memory segment /dev/shm/nccl-WU88OE (size 9637888), error: No space left on device (28)",
        f"{host}:2016:2235 [0] NCCL INFO transport/shm.cc:551 -> 2",
        f"{host}:2016:2235 [0] NCCL INFO transport/shm.cc:493 -> 2",
        f"{host}:2016:2240 [0] NCCL INFO misc/socket.cc:28 -> 3",
        f"{host}:2018:2238 [2] NCCL INFO misc/socket.cc:561 -> 3",
        "",
        f"[2026-11-27 09:14:41] {host}:2018:2238 [2] proxy.cc:1326 NCCL WARN Socket recv failed while polling for opId=0x7f1c2c0b3e10",
    ]
    for rank in (2, 0, 3, 1):
        kind = (
            "unhandled system error (run with NCCL_DEBUG=INFO for details)"
            if rank == 0
            else "remote process exited or there was a network error"
        )
        name = (
            "ncclSystemError: System call (e.g. socket, malloc) or external library call failed or device error."
            if rank == 0
            else "ncclRemoteError: A call failed possibly due to a network error or a remote process exiting prematurely."
        )
        last = (
            "Error while creating shared memory segment /dev/shm/nccl-WU88OE (size 9637888), error: No space left on device (28)"
            if rank == 0
            else "Socket recv failed while polling for opId=0x7f1c2c0b3e10"
        )
        lines += [
            f"[rank{rank}]: {each}"
            for each in (
                "Traceback (most recent call last):",
                '  File "/workspace/train_imagenet.py", line 311, in <module>',
                "    main()",
                '  File "/workspace/train_imagenet.py", line 124, in main',
                "    model = DDP(model, device_ids=[local_rank])",
                '  File "/usr/local/lib/python3.11/dist-packages/torch/distributed/utils.py", line 294, in _verify_param_shape_across_processes',
                "    return dist._verify_params_across_processes(process_group, tensors, logger)",
                f"torch.distributed.DistBackendError: NCCL error in: /pytorch/torch/csrc/distributed/c10d/NCCLUtils.cpp:77, {kind}, NCCL version 2.26.2",
                name,
                "Last error:",
                last,
            )
        ]
    lines += [
        "W1127 09:14:44.402000 17 torch/distributed/elastic/multiprocessing/api.py:900] Sending process 2017 closing signal SIGTERM",
        "W1127 09:14:44.402000 17 torch/distributed/elastic/multiprocessing/api.py:900] Sending process 2019 closing signal SIGTERM",
        "E1127 09:14:44.817000 17 torch/distributed/elastic/multiprocessing/api.py:874] failed (exitcode: 1) local_rank: 2 (pid: 2018) of binary: /usr/bin/python3",
        "torch.distributed.elastic.multiprocessing.errors.ChildFailedError: ",
        "============================================================",
        "train_imagenet.py FAILED",
        "------------------------------------------------------------",
        "Failures:",
        "[1]:",
        "  time      : 2026-11-27_09:14:44",
        f"  host      : {host}",
        "  rank      : 0 (local_rank: 0)",
        "  exitcode  : 1 (pid: 2016)",
        "  error_file: <N/A>",
        "  traceback : To enable traceback see: https://pytorch.org/docs/stable/elastic/errors.html",
        "------------------------------------------------------------",
        "Root Cause (first observed failure):",
        "[0]:",
        "  time      : 2026-11-27_09:14:44",
        f"  host      : {host}",
        "  rank      : 2 (local_rank: 2)",
        "  exitcode  : 1 (pid: 2018)",
        "  error_file: <N/A>",
        "  traceback : To enable traceback see: https://pytorch.org/docs/stable/elastic/errors.html",
        "============================================================",
    ]
    bench.write("train_imagenet.log", joined(lines))


@case(
    "axolotl-token-outside-vocabulary",
    cause="script-error",
    also=("bad-batch", "assertion"),
    rank=1,
    restart="STOP",
    real=False,
    proof="srcIndex < srcSelectDimSize",
)
def vocabulary(bench: Bench) -> None:
    """A special token was added and the embedding not resized: rank 1 meets it first, CUDA's assertion fails, NCCL's watchdogs follow."""
    lines = [
        "[2026-11-27 09:22:26,287] [INFO] [axolotl.utils.dataloader._len_est:264] [PID:921] [RANK:0] packing_efficiency_estimate: 1.0 total_num_tokens per device: 14143488",
        "[2026-11-27 09:22:26,664] [INFO] [axolotl.utils.dataloader.generate_batches:181] [PID:921] [RANK:0] generating packed batches",
        *(
            f"{{'loss': {1.51 - 0.004 * i:.4f}, 'grad_norm': {0.81 + 0.01 * (i % 5):.3f}, 'learning_rate': 0.00019{i % 10}, 'epoch': {0.01 * i:.2f}}}"
            for i in range(1, 47)
        ),
        "  9%|▊         | 46/530 [08:31<1:29:41, 11.12s/it]",
        *(
            f"../aten/src/ATen/native/cuda/Indexing.cu:1146: indexSelectLargeIndex: block: [{342 + thread // 48},0,0], thread: [{thread},0,0] Assertion `srcIndex < srcSelectDimSize` failed."
            for thread in range(32, 96)
        ),
        *(
            f"[rank1]: {each}"
            for each in (
                "Traceback (most recent call last):",
                '  File "/workspace/axolotl/src/axolotl/cli/train.py", line 52, in <module>',
                "    fire.Fire(do_cli)",
                '  File "/root/miniconda3/envs/py3.10/lib/python3.10/site-packages/transformers/trainer.py", line 2052, in train',
                "    return inner_training_loop(",
                '  File "/root/miniconda3/envs/py3.10/lib/python3.10/site-packages/transformers/models/llama/modeling_llama.py", line 1032, in forward',
                "    causal_mask = self._update_causal_mask(attention_mask, inputs_embeds, cache_position)",
                '  File "/root/miniconda3/envs/py3.10/lib/python3.10/site-packages/transformers/models/llama/modeling_llama.py", line 1118, in _update_causal_mask',
                "    if attention_mask is not None and (attention_mask == 0.0).any():",
                "RuntimeError: CUDA error: device-side assert triggered",
                "CUDA kernel errors might be asynchronously reported at some other API call, so the stacktrace below might be incorrect.",
                "For debugging consider passing CUDA_LAUNCH_BLOCKING=1.",
                "Compile with `TORCH_USE_CUDA_DSA` to enable device-side assertions.",
            )
        ),
        "[rank1]:[E1127 09:31:02.771920113 ProcessGroupNCCL.cpp:1895] [PG ID 0 PG GUID 0(default_pg) Rank 1] Process group watchdog thread terminated with exception: CUDA error: device-side assert triggered",
        "terminate called after throwing an instance of 'c10::DistBackendError'",
        "  what():  [PG ID 0 PG GUID 0(default_pg) Rank 1] Process group watchdog thread terminated with exception: CUDA error: device-side assert triggered",
        "W1127 09:31:03.402000 880 torch/distributed/elastic/multiprocessing/api.py:897] Sending process 921 closing signal SIGTERM",
        "E1127 09:31:04.118000 880 torch/distributed/elastic/multiprocessing/api.py:869] failed (exitcode: -6) local_rank: 1 (pid: 922) of binary: /root/miniconda3/envs/py3.10/bin/python3",
        "Traceback (most recent call last):",
        '  File "/root/miniconda3/envs/py3.10/lib/python3.10/site-packages/accelerate/commands/launch.py", line 1159, in launch_command',
        "    multi_gpu_launcher(args)",
        "torch.distributed.elastic.multiprocessing.errors.ChildFailedError: ",
        "=======================================================",
        "axolotl.cli.train FAILED",
        "-------------------------------------------------------",
        "Root Cause (first observed failure):",
        "[0]:",
        "  time      : 2026-11-27_09:31:03",
        "  host      : 3f0c1b7d2a44",
        "  rank      : 1 (local_rank: 1)",
        "  exitcode  : -6 (pid: 922)",
        "  error_file: <N/A>",
        "  traceback : Signal 6 (SIGABRT) received by PID 922",
        "=======================================================",
    ]
    bench.write("axolotl.log", joined(lines))


@case(
    "deepspeed-batch-sizes-do-not-multiply",
    cause="assertion",
    also=("bad-option", "script-error"),
    rank="all",
    also_rank=("any", 0, 1, 2, 3),
    restart="STOP",
    real=False,
    proof="Check batch related parameters",
)
def batch_sizes(bench: Bench) -> None:
    """DeepSpeed's configuration was written for eight processes, and the job has four: its assertion fails in each rank; rich's boxes."""
    box = [
        "╭───────────────────── Traceback (most recent call last) ─────────────────────╮",
        "│ /workspace/starcoder/chat/train.py:353 in <module>                          │",
        "│                                                                             │",
        "│   350                                                                       │",
        '│   351 if __name__ == "__main__":                                            │',
        "│ ❱ 353 │   main()                                                            │",
        "│                                                                             │",
        "│ /opt/conda/lib/python3.10/site-packages/deepspeed/runtime/config.py:891 in  │",
        "│ _batch_assertion                                                            │",
        "│                                                                             │",
        '│    888 │   │   assert (grad_acc > 0), f"Gradient accumulation steps: {grad_a │',
        "│ ❱  891 │   │   assert train_batch == micro_batch * grad_acc * self.world_siz │",
        '│    892 │   │   │   f"Check batch related parameters. train_batch_size is not │',
        "╰─────────────────────────────────────────────────────────────────────────────╯",
        "AssertionError: Check batch related parameters. train_batch_size is not equal ",
        "to micro_batch_per_gpu * gradient_acc_step * world_size 256 != 4 * 8 * 4",
    ]
    lines = [
        "[2026-11-27 09:14:05,402] [INFO] [real_accelerator.py:219:get_accelerator] Setting ds_accelerator to cuda (auto detect)",
        "[2026-11-27 09:14:07,120] [INFO] [launch.py:146:main] WORLD INFO DICT: {'localhost': [0, 1, 2, 3]}",
        "[2026-11-27 09:14:07,120] [INFO] [launch.py:164:main] dist_world_size=4",
        *(
            f"[2026-11-27 09:14:07,{131 + i}] [INFO] [launch.py:256:main] process {1200 + i} spawned with command: ['/opt/conda/bin/python', '-u', 'train.py', '--local_rank={i}', 'config.yaml', '--deepspeed=deepspeed_z3_config_bf16.json']"
            for i in range(4)
        ),
        "[2026-11-27 09:14:13,018] [INFO] [comm.py:658:init_distributed] Initializing TorchBackend in DeepSpeed with backend nccl",
        "2026-11-27 09:14:14 - WARNING - __main__ - Process rank: 0, device: cuda:0, n_gpu: 1 distributed training: True, 16-bits training: False",
        "Loading checkpoint shards: 100%|██████████| 7/7 [00:41<00:00,  5.97s/it]",
        *box,
        *box[:7],
        *box,
        *box[7:],
        *box,
        *(
            f"[2026-11-27 09:15:04,{118 + i}] [INFO] [launch.py:319:sigkill_handler] Killing subprocess {1200 + i}"
            for i in range(4)
        ),
        "[2026-11-27 09:15:04,602] [ERROR] [launch.py:325:sigkill_handler] ['/opt/conda/bin/python', '-u', 'train.py', '--local_rank=3', 'config.yaml', '--deepspeed=deepspeed_z3_config_bf16.json'] exits with return code = 1",
    ]
    bench.write("chat.log", joined(lines))


@case(
    "hyperpod-slurm-replaces-node",
    cause="hyperpod-fault",
    also=("node-lost",),
    rank=13,
    also_rank=("any", "all", None, *range(8, 13), 14, 15),
    restart="RESTART_ELSEWHERE",
    also_restart=AGAIN,
    node="ip-10-1-16-50",
    real=False,
    proof=r"\[Auto Resume\] Info: .* Droping unhealthy nodes",
)
def auto_resume(bench: Bench) -> None:
    """srun --auto-resume=1 on HyperPod: a task is killed on the second node, the cluster agent finds that node unhealthy and replaces it; the job waits for another one."""
    lines = [
        f"0: step {i} step_time {285 + (i * 37 % 100) / 100:.6f}s throughput 2.87{i % 10}3 seq/s loss {1.69 - 0.0011 * i:.6f} grad norm {10 + i % 4}.75"
        for i in range(1, 31)
    ]
    lines.insert(
        25,
        "0: [2026-11-27 10:51:48.284: I neuronx_distributed/trainer/checkpoint.py:135] synced saving of checkpoint step_25 completed",
    )
    lines += [
        "1: W1127 11:20:31.411000 41822 torch/distributed/elastic/multiprocessing/api.py:897] Sending process 41902 closing signal SIGTERM",
        "1: E1127 11:20:33.700000 41822 torch/distributed/elastic/multiprocessing/api.py:869] failed (exitcode: -9) local_rank: 5 (pid: 41907) of binary: /fsx/ubuntu/aws_neuron_venv_pytorch/bin/python3",
        "1: torch.distributed.elastic.multiprocessing.errors.ChildFailedError: ",
        "1: ============================================================",
        "1: run_llama_nxd.py FAILED",
        "1: ------------------------------------------------------------",
        "1: Root Cause (first observed failure):",
        "1: [0]:",
        "1:   time      : 2026-11-27_11:20:31",
        "1:   host      : ip-10-1-16-50",
        "1:   rank      : 13 (local_rank: 5)",
        "1:   exitcode  : -9 (pid: 41907)",
        "1:   error_file: <N/A>",
        "1:   traceback : Signal 9 (SIGKILL) received by PID 41907",
        "1: ============================================================",
        "srun: error: ip-10-1-16-50: task 1: Exited with exit code 1",
        "[Auto Resume] Info: JobID: 82 StepID: 0 Initiating communication with cluster agent to diagnose health of nodes",
        "[Auto Resume] Info: JobID: 82 StepID: 0 Response from cluster agent: JobId=82, ResumeAction=RETRYSTEP",
        "[Auto Resume] Info: JobID: 82 StepID: 0 Job failed - replacing nodes",
        "[Auto Resume] Info: JobID: 82 StepID: 0 Job failed - Droping unhealthy nodes",
        "[Auto Resume] Info: JobID: 82 StepID: 0 Succesfully shrink job to retain healthy nodes ip-10-1-10-50",
        "srun: job 83 queued and waiting for resources",
    ]
    bench.write("run_llama3_70B.out.log", joined(lines))
    table = [
        "PARTITION     AVAIL  TIMELIMIT  NODES  STATE NODELIST",
        "dev*             up   infinite      1   fail ip-10-1-16-50",
        "dev*             up   infinite      1  alloc ip-10-1-10-50",
    ]
    bench.write("sinfo.log", joined(table))


@case(
    "fabric-manager-not-running",
    cause="driver-mismatch",
    also=("gpu-lost", "nvlink"),
    rank=4,
    also_rank=OTHERS,
    restart="RESTART_ELSEWHERE",
    also_restart=("STOP",),
    node=SECOND,
    real=False,
    proof="Error 802: system not yet initialized",
)
def fabric_manager(bench: Bench) -> None:
    """The second node's fabric manager has another version than its driver and did not start: CUDA answers 802 to its four ranks; the first node waits for them."""
    fleet = Fleet(bench, nodes=2, procs=4, seed=91)
    for rank in (5, 4, 7, 6):
        fleet.say(
            rank,
            f"[rank{rank}]: Traceback (most recent call last):",
            f'[rank{rank}]:   File "/workspace/pretrain.py", line 688, in <module>',
            f"[rank{rank}]:     main(parse_args())",
            f'[rank{rank}]:   File "/workspace/pretrain.py", line 97, in main',
            f"[rank{rank}]:     torch.cuda.set_device(local_rank)",
            f'[rank{rank}]:   File "/usr/local/lib/python3.11/dist-packages/torch/cuda/__init__.py", line 372, in _lazy_init',
            f"[rank{rank}]:     torch._C._cuda_init()",
            f"[rank{rank}]: RuntimeError: Unexpected error from cudaGetDeviceCount(). Did you run some cuda functions before calling NumCudaDevices() that might have already set an error? Error 802: system not yet initialized",
        )
    fleet.torchrun_failed(1, 5)
    fleet.ended(1, 1, after=95)
    for rank in range(4):
        fleet.say(
            rank,
            f"[rank{rank}]: torch.distributed.DistStoreError: wait timeout after 600000ms, keys: /default_pg/0//cuda//nccl/worker_count",
        )
    fleet.torchrun_failed(0, 2)
    fleet.ended(0, 1, after=710)
    fleet.kernel = [
        "[   41.220518] nvidia-nvlink: Nvlink Core is being initialized, major device number 234",
        "[   44.871206] nv-fabricmanager[2214]: fabric manager NVIDIA GPU driver interface version 570.124.06 don't match with driver version 570.133.20. Please update with matching NVIDIA driver package.",
        "[   44.880133] systemd[1]: nvidia-fabricmanager.service: Failed with result 'exit-code'.",
    ]
    fleet.write()
