"""Log lines as the trainers' own format strings print them, with the values that a test knows.

torchtitan: torchtitan/components/metrics.py, MetricsProcessor.log and log_validation, and tools/logging.py, tools/utils.py (colours) of
pytorch/torchtitan at b5bcd76. torchtune: torchtune/training/metric_logging.py, StdoutLogger.log_dict and DiskLogger (jsonl) of
pytorch/torchtune at bd2a0fc. VERL: verl/utils/logger/aggregate_logger.py, concat_dict_to_str, and verl/utils/tracking.py, FileLogger of
volcengine/verl at b178a3c; np.float64(...) is what its pformat prints for a NumPy number (NumPy 2).
"""

from __future__ import annotations

import json
import time

RED, GREEN, YELLOW, BLUE, MAGENTA, CYAN = (f"\033[{code}m" for code in (31, 32, 33, 34, 35, 36))
ORANGE, TURQUOISE, RESET = "\033[38;2;180;60;0m", "\033[38;2;54;234;195m", "\033[39m"
BEGIN = 1_790_000_000.0


def stamp(seconds: float) -> str:
    """logging's asctime, in this machine's zone, `seconds` after BEGIN."""
    moment = BEGIN + seconds
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment)) + f",{int(moment % 1 * 1000):03}"


def titan(step: int, loss: float, *, seconds: float = 0.0, grad_norm: float = 1.25, tps: int = 12345, rank: int = 0) -> str:
    return (
        f"[rank{rank}]:[titan] {stamp(seconds)} - root - INFO - {RED}step: {step:2}  {GREEN}loss: {loss:8.5f}  "
        f"{ORANGE}grad_norm: {grad_norm:7.4f}  {TURQUOISE}memory: {17.5:5.2f}GiB({21.9:.2f}%)  {BLUE}tps: {tps:,}  "
        f"{CYAN}tflops: {123.456:,.2f}  {MAGENTA}mfu: {39.57:.2f}%{RESET}"
    )


def titan_validation(step: int, loss: float, *, seconds: float = 0.0) -> str:
    return (
        f"[rank0]:[titan] {stamp(seconds)} - root - INFO - {YELLOW}validate step: {step:2}  {GREEN}loss: {loss:7.4f}  "
        f"{TURQUOISE}memory: {17.5:5.2f}GiB({21.9:.2f}%)  {BLUE}tps: {23456:,}{RESET}"
    )


def tune(step: int, loss: float, *, lr: float = 2e-5, speed: float = 812.25, **more: object) -> str:
    payload = {"loss": loss, "lr": lr, "tokens_per_second_per_gpu": speed, "peak_memory_active": 3.25, **more}
    return f"Step {step} | " + "".join(f"{name}:{value} " for name, value in payload.items())


def tune_json(step: int, loss: float) -> str:
    return json.dumps({"step": step, "loss": loss, "lr": 2e-5, "tokens_per_second_per_gpu": 812.25})


def verl(step: int, **metrics: object) -> str:
    """Values are printed as they are: give np.float64(...) as text."""
    return " - ".join([f"step:{step}", *(f"{name.replace('__', '/')}:{value}" for name, value in metrics.items())])


def verl_ppo(step: int, loss: float, reward: float) -> str:
    line = verl(
        step,
        actor__pg_loss=f"np.float64({loss!r})",
        actor__grad_norm=f"np.float64({1.5!r})",
        actor__lr=f"np.float64({1e-6!r})",
        training__global_step=step,
        training__epoch=0,
        critic__rewards__mean=reward,
        response_length__mean=250.5,
        timing_s__step=8.75,
        perf__throughput=1810.125,
    )
    return f"\033[36m(TaskRunner pid=4123)\033[0m {line}"
