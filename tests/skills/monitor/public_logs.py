"""Logs in the forms that public trainers print, with what is true of each, written down by hand."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Sample:
    lines: list[str]
    last_step: int
    last_loss: float
    total_steps: int | None = None
    format: str = "key-value"
    points: int | None = None
    """Training lines; None: as many as there are losses is not the question."""
    more: dict[str, Any] = field(default_factory=dict)
    """Further keys of the summary; `unit` is the throughput's."""


def _meters(loss: float) -> str:
    return f"Time  0.250 ( 0.300)\tData  0.001 ( 0.004)\tLoss {loss:.4e} (7.0000e+00)\tAcc@1   1.00 (  0.90)\tAcc@5   4.00 (  3.80)"


IMAGENET = Sample(
    ["=> creating model 'resnet18'"]
    + [f"Epoch: [{epoch}][{batch:4d}/100]\t" + _meters(6 - epoch - batch / 100) for epoch in (0, 1) for batch in (0, 50, 90)]
    + ["Test: [ 1/10]\t" + _meters(9.0), " *   Acc@1 1.000 Acc@5 4.000"],
    last_step=190,
    last_loss=4.1,
    points=6,
    more={"evals": 0},  # the loss of one batch of an evaluation is not the evaluation's
)
MNIST = Sample(
    [
        f"Train Epoch: {epoch} [{seen}/60000 ({seen * 100 // 60000}%)]\tLoss: {3 - epoch:.6f}"
        for epoch in (1, 2)
        for seen in (0, 640)
    ],
    last_step=60640,
    last_loss=1.0,
    points=4,
)
WORD_LANGUAGE_MODEL = Sample(
    [
        f"| epoch {epoch:3d} | {batch:5d}/ 300 batches | lr 20.00 | ms/batch 11.25 | loss {7 - epoch - batch / 200:5.2f} | ppl   400.00"
        for epoch in (1, 2)
        for batch in (100, 200)
    ]
    + ["-" * 89, "| end of epoch   2 | time: 45.50s | valid loss  4.75 | valid ppl   115.58", "-" * 89],
    last_step=500,
    last_loss=4.0,
    points=4,
    more={"last_lr": 20.0, "last_eval_loss": 4.75},
)
FAIRSEQ = Sample(
    [
        f"2026-01-01 10:0{n}:00 | INFO | train_inner | epoch 001:    {n}00 / 1337 loss={9 - n}, nll_loss={8 - n}, ppl=64, wps=20{n}00.5, "
        f"ups=3.1, wpb=6500, bsz=128, num_updates={n}00, lr=0.000{n}, gnorm=1.{n}, loss_scale=16, train_wall=30, gb_free=10, wall=4{n}"
        for n in range(1, 5)
    ]
    + [
        "2026-01-01 10:05:00 | INFO | valid | epoch 001 | valid on 'valid' subset | loss 4.5 | nll_loss 4.25 | ppl 19 | wps 50000 | wpb 6000 | bsz 100 | num_updates 400",
        "2026-01-01 10:05:01 | INFO | train | epoch 001 | loss 7 | nll_loss 6.5 | ppl 90 | wps 20000 | ups 3 | wpb 6500 | bsz 128 | num_updates 400 | lr 0.0004 | gnorm 1.5",
    ],
    last_step=400,
    last_loss=5.0,
    points=4,
    more={"last_eval_loss": 4.5, "last_throughput": 20400.5, "unit": "wps", "last_lr": 0.0004, "last_grad_norm": 1.4},
)
FAIRSEQ_JSON = Sample(
    [
        "2026-01-01 10:00:00 | INFO | train_inner | "
        + json.dumps({"epoch": 1, "update": n / 2, "loss": f"{9 - n}", "wps": "20000", "num_updates": f"{n}00", "lr": "0.0001"})
        for n in range(1, 5)
    ],
    last_step=400,
    last_loss=5.0,
    points=4,
    more={"last_throughput": 20000.0},
)
LLAMA_FACTORY = Sample(
    [
        json.dumps({"current_steps": 10 * n, "total_steps": 100, "loss": 3 - n / 4, "lr": 5e-05, "epoch": n / 10, "percentage": 10.0 * n,
                    "elapsed_time": f"0:00:{10 * n}", "remaining_time": f"0:01:{40 - 10 * n:02d}", "throughput": 812.5, "total_tokens": 8120})
        for n in range(1, 5)
    ]
    + [json.dumps({"current_steps": 40, "total_steps": 100, "eval_loss": 2.25, "epoch": 0.4, "percentage": 40.0})],
    last_step=40,
    last_loss=2.0,
    total_steps=100,
    points=4,
    more={"last_throughput": 812.5, "eta_s": 60.0, "last_eval_loss": 2.25, "last_lr": 5e-5, "median_step_s": 1.0},
)  # fmt: skip
TRAINER_STATE = Sample(
    json.dumps(
        {
            "best_metric": None,
            "epoch": 1.0,
            "global_step": 30,
            "is_world_process_zero": True,
            "log_history": [
                *({"epoch": n / 3, "grad_norm": 1.5, "learning_rate": 5e-05, "loss": 4 - n, "step": 10 * n} for n in (1, 2, 3)),
                {"epoch": 1.0, "eval_loss": 1.25, "eval_runtime": 2.0, "step": 30},
            ],
            "logging_steps": 10,
            "max_steps": 60,
            "stateful_callbacks": {"TrainerControl": {"args": {"should_save": True}}},
        },
        indent=2,
    ).split("\n"),
    last_step=30,
    last_loss=1.0,
    total_steps=60,
    format="trainer-state",
    points=3,
    more={"last_eval_loss": 1.25, "last_lr": 5e-5, "last_grad_norm": 1.5},
)
MODDED_NANOGPT = Sample(
    [
        line
        for n in range(500)
        for line in (
            *([f"step:{n}/1750 val_loss:{10 - n / 125:.4f} train_time:{n * 100}ms step_avg:100.00ms"] if n % 125 == 0 else []),
            f"step:{n + 1}/1750 train_time:{n * 100}ms step_avg:100.00ms",
        )
    ],
    last_step=500,
    last_loss=0.0,
    total_steps=1750,
    more={"last_loss": None, "last_eval_loss": 7.0, "evals": 4, "best_eval_step": 375},
)
LLM_C = Sample(
    ["| device                | GPU                                  |", "val loss 11.000000"]
    + [
        f"step {n:4d}/19560 | loss {11 - n / 4:.6f} (+nanz)| norm 15.{n}000 (+nanz)| lr {n}.00e-06 | 140.50 ms | 55.4% bf16 MFU | 11{n}000 tok/s"
        for n in range(1, 5)
    ]
    + ["val loss 9.500000"],
    last_step=4,
    last_loss=10.0,
    total_steps=19560,
    points=4,
    more={"last_throughput": 114000.0, "unit": "tok/s", "last_lr": 4e-6, "last_grad_norm": 15.4, "last_eval_loss": 9.5},
)
NEMO = Sample(
    [
        f"Training epoch 0, iteration {n}/100 | lr: {n}e-06 | global_batch_size: 8 | global_step: {n - 1} | reduced_train_loss: {12 - n} | "
        f"train_step_timing in s: 0.5 | consumed_samples: {8 * n}"
        for n in (1, 2, 3, 4)
    ]
    + ["Validation: iteration 1/4"],
    last_step=4,
    last_loss=8.0,
    total_steps=100,
    points=4,
    more={"last_lr": 4e-6},
)
NEMO_BAR = Sample(
    [
        f"Epoch 0: :   {n}%|#         | {n}/100 [00:0{n}<01:3{n}, v_num=1, reduced_train_loss={12 - n}.0, global_step={n - 1}.0, consumed_samples={n * 8}.0]".replace("v_num", "1.00it/s, v_num")
        for n in (1, 2, 3, 4)
    ],
    last_step=3,
    last_loss=8.0,
    format="lightning",
    points=4,
)  # fmt: skip
MMENGINE = Sample(
    [
        f"2026/01/01 10:00:{n:02d} - mmengine - INFO - Epoch(train)  [{epoch}][{batch:3d}/100]  lr: 1.0000e-03  eta: 1:02:{n:02d}  time: 0.5000  "
        f"data_time: 0.0100  memory: 900  grad_norm: 2.5000  loss: {6 - n}.5000  loss_cls: 1.2500"
        for n, (epoch, batch) in enumerate([(1, 50), (1, 100), (2, 50)], start=1)
    ]
    + ["2026/01/01 10:01:00 - mmengine - INFO - Epoch(val)  [2][10/10]    coco/bbox_mAP: 0.1  data_time: 0.01  time: 0.1"],
    last_step=150,
    last_loss=3.5,
    points=3,
    more={"last_lr": 1e-3, "last_grad_norm": 2.5, "eta_s": 3723.0},
)
MMENGINE_ITERATIONS = Sample(
    [
        f"01/01 10:00:00 - mmengine - INFO - Iter(train) [  {n}50/80000]  lr: 1e-02  eta: 1 day, 2:00:00  time: 0.5  memory: 900  loss: {6 - n}.25  decode.loss_ce: 1.0"
        for n in (1, 2, 3)
    ],
    last_step=350,
    last_loss=3.25,
    total_steps=80000,
    more={"eta_s": 93600.0},
)
TIMM = Sample(
    [
        f"Train: {epoch} [{batch:>4d}/200 ({batch / 2:>3.0f}%)]  Loss: {7 - epoch - batch / 100:#.3g} (6.9)  Time: 0.500s,  512.25/s  (0.600s,  426.67/s)  "
        f"LR: 1.000e-05  Data: 0.010 (0.020)"
        for epoch in (0, 1)
        for batch in (0, 100, 199)
    ]
    + ["Test: [  10/10]  Time: 0.100 (0.100)  Loss:   3.250 ( 3.500)  Acc@1:  10.000 (  9.000)  Acc@5:  20.000 ( 19.000)"],
    last_step=399,
    last_loss=4.01,
    points=6,
    # only the last batch of an evaluation has the mean of all, in parentheses
    more={"last_throughput": 512.25, "unit": "/s", "last_lr": 1e-5, "evals": 1, "last_eval_loss": 3.5},
)
COMPOSER = Sample(
    [
        line
        for n in (1, 2, 3)
        for line in (
            f"[batch={n}0/4800]:",
            f"\t Train time/batch: {n}9",
            f"\t Train loss/train/total: {12 - n}.5000",
            f"\t Train metrics/train/LanguageCrossEntropy: {12 - n}.4000",
            f"\t Train throughput/tokens_per_sec: {n}1000.2500",
            "\t Train lr-DecoupledAdamW/group0: 0.0006",
        )
    ]
    + ["[Eval batch=10/10] Eval on eval data:", "\t Eval metrics/eval/LanguageCrossEntropy: 9.7500", "\t Eval metrics/eval/LanguagePerplexity: 17154.2"],
    last_step=30,
    last_loss=9.5,
    total_steps=4800,
    format="composer",
    points=3,
    more={"last_throughput": 31000.25, "unit": "tokens/s", "last_eval_loss": 9.75, "last_lr": 0.0006},
)  # fmt: skip
COMPOSER_EPOCHS = Sample(
    [
        line
        for epoch, batch in ((1, 10), (1, 20), (2, 10))
        for line in (f"[epoch={epoch}][batch={batch}/20]:", f"\t Train loss/train/total: {9 - epoch}.25")
    ],
    last_step=30,
    last_loss=7.25,
    format="composer",
    points=3,
)
OPENRLHF = Sample(
    [
        "\r".join(
            f"Train step of epoch {epoch}:  {n}0%|#   | {n}/10 [00:0{n}<00:0{9 - n},  1.00s/it, gpt_loss={3 - epoch}.{n}, loss_mean=2.5]"
            for n in (1, 2, 3, 9)
        )
        for epoch in (0, 1)
    ],
    last_step=19,
    last_loss=2.9,
    points=8,
    more={"eta_s": None},  # the bar says what is left of the epoch
)
OPENRLHF_PPO = Sample(
    [f"(PPOTrainer pid=77) Global step {n}: {{'policy_loss': -0.{n}, 'critic_loss': 0.5, 'reward': {n}.25, 'kl': 0.001, 'actor_lr': 1e-06}}" for n in (1, 2, 3)],
    last_step=3,
    last_loss=-0.3,
    points=3,
    more={"last_reward": 3.25},
)  # fmt: skip

LLMC = Sample(
    [
        line
        for n in range(4)
        for line in ([f"s:{n * 250} tel:{9 - n}.5000"] if n else [])
        + [
            f"s:{n * 250} trl:{9 - n}.2500 lr:0.000{n}00 norm:1.{n}0",
            f"s:{n * 250 + 1} trl:{9 - n}.1250 lr:0.000{n}00 norm:1.{n}0",
        ]
    ],
    last_step=751,
    last_loss=6.125,
    format="llmc",
    points=8,
    more={"last_lr": 0.0003, "last_grad_norm": 1.3, "last_eval_loss": 6.5, "evals": 3},
)
STEPS_OF_AN_EPOCH = Sample(  # how many epochs there are is not told, and the step begins anew with each
    [
        f"INFO:__main__:Epoch {epoch} | Step {batch:>4d}/6501 | Loss: {7 - epoch - batch / 10000:.4f} | PPL: 2.04 | LR: 2.99e-04 | Time: 0.518s"
        for epoch in (0, 1, 2)
        for batch in (0, 500, 6500)
    ]
    + ["INFO:__main__:Epoch 2 done | Avg Loss: 5.2"],
    last_step=19502,
    last_loss=4.35,
    points=9,
)
STEPS_OF_ALL_EPOCHS = Sample(  # the same words, and a step that goes on
    [
        f"Epoch {epoch} | Step {epoch * 100 + batch}/300 | Loss: {7 - epoch - batch / 100:.4f}"
        for epoch in (0, 1, 2)
        for batch in (0, 50, 99)
    ],
    last_step=299,
    last_loss=4.01,
    total_steps=300,
    points=9,
)
TABS = Sample(["step\tloss\tlr", *[f"{n * 10}\t{9 - n}.5\t0.001" for n in range(1, 6)]], last_step=50, last_loss=4.5, points=5)
EPOCHS_ALONE = Sample(  # 12/100 is the twelfth epoch, not the second place of epoch 1
    [f"Epoch {n}/100 - Train Loss: {90 - n}.0520, Val Loss: {91 - n}.2508" for n in range(1, 13)],
    last_step=12,
    last_loss=78.052,
    total_steps=100,
    points=12,
    more={"last_eval_loss": 79.2508},
)
MEGATRON_PER_GPU = Sample(
    [
        f" [2026-01-01 10:0{n}:00] iteration {n:8d}/    5000 | consumed samples: {n * 128:12d} | elapsed time per iteration (ms): 15102.2 | "
        f"throughput per GPU (TFLOP/s/GPU): 10{n}.5 | learning rate: 1.5E-05 | global batch size:   128 | lm loss: {9 - n}.5E+00 | grad norm: 2.5 |"
        for n in (1, 2, 3)
    ],
    last_step=3,
    last_loss=6.5,
    total_steps=5000,
    points=3,
    more={"last_throughput": 103.5, "unit": "TFLOP/s/GPU", "last_grad_norm": 2.5},
)
SAMPLES = {name.lower(): value for name, value in list(globals().items()) if isinstance(value, Sample)}
