"""`accelerate launch` with this runner's topology: started by the supervisor as `PYTHON local_accelerate.py PROCS WORD...`.

Runs in the job's own Python, so it imports accelerate, and nothing of this skill. torchrun's PET_* variables are set: accelerate
starts torch.distributed.run in this process, which then takes a rendezvous of its own (PET_STANDALONE) and has no restarts.
"""

import os
import sys
from typing import Any


try:
    import torch
    from accelerate.commands import launch
    from accelerate.commands.config.config_args import default_config_file, load_config_from_file
    from accelerate.utils import prepare_simple_launcher_cmd_env
except ImportError as error:
    sys.exit(f"{sys.executable} cannot start accelerate: {error}")


def main() -> None:
    """Everything in a config file holds, but for the number of processes and machines, and the address."""
    procs, words = int(sys.argv[1]), sys.argv[2:]
    args = launch.launch_command_parser().parse_args(words)
    config = _config(args)
    topology = ["--num_processes", str(procs), "--num_machines", "1", "--machine_rank", "0", "--main_process_port", "0"]
    if procs > 1 and not _chooses_a_launcher(args, config):
        topology.append("--multi_gpu")  # its name for torch.distributed.run, also where there is no GPU
        if args.cpu:  # accelerate would start one process, or look for mpirun
            words.remove("--cpu")
    if args.cpu or getattr(config, "use_cpu", False) or not _has_accelerator():
        os.environ["ACCELERATE_USE_CPU"] = "true"
    if args.gpu_ids is None and len((getattr(config, "gpu_ids", None) or "all").split(",")) < procs:
        topology += ["--gpu_ids", "all"]
    launch.simple_launcher = _become_the_script
    sys.argv = ["accelerate launch", *topology, *words]
    launch.main()


def _config(args: Any) -> Any:
    """The config file that accelerate will read, or None."""
    if args.config_file is None and (args.cpu or not os.path.isfile(default_config_file)):
        return None
    return load_config_from_file(args.config_file)


def _chooses_a_launcher(args: Any, config: Any) -> bool:
    """Whether flags or config name a way to train that starts torch.distributed.run by itself."""
    if args.cpu:
        return False
    if args.use_fsdp or args.use_deepspeed or args.use_megatron_lm:
        return True
    kind = str(getattr(getattr(config, "distributed_type", None), "value", getattr(config, "distributed_type", None)))
    if kind in ("XLA", "TPU") or str(getattr(config, "compute_environment", "")).endswith("AMAZON_SAGEMAKER"):
        sys.exit(
            f"accelerate's config file is for {kind} or SageMaker, and this run is on this machine; --config_file names another"
        )
    return kind in ("FSDP", "DEEPSPEED", "MEGATRON_LM") or (kind.startswith("MULTI_") and kind != "MULTI_CPU")


def _has_accelerator() -> bool:
    return bool(torch.accelerator.is_available() if hasattr(torch, "accelerator") else torch.cuda.is_available())


def _become_the_script(args: Any) -> None:
    """One process: in this one's place, so that a stop reaches it. A parent in between would die of it first."""
    command, environment = prepare_simple_launcher_cmd_env(args)
    os.execvpe(command[0], command, environment)


if __name__ == "__main__":
    main()
