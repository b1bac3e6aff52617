"""The example trainer's model and one step of its training."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable

import pytest
import torch
import trainyard

from tests.training.lm_runs import lm_model, make_trainer, ramp, step, train


def test_logits_have_one_row_a_byte_and_start_out_indifferent() -> None:
    net = make_trainer().net
    tokens_BT = torch.randint(256, (3, 16))
    logits_BTV = net(tokens_BT)
    assert logits_BTV.shape == (3, 16, 256)
    assert lm_model.nats_per_byte(logits_BTV, tokens_BT).item() == pytest.approx(math.log(256), abs=0.1)


def test_a_byte_is_predicted_from_the_bytes_before_it_only() -> None:
    net = make_trainer().net
    tokens_BT = torch.randint(255, (1, 16))
    changed_BT = tokens_BT.clone()
    changed_BT[0, 9] += 1
    before_TV, after_TV = net(tokens_BT)[0], net(changed_BT)[0]
    assert torch.equal(before_TV[:9], after_TV[:9])
    assert not torch.equal(before_TV[9], after_TV[9])


def test_the_default_model_has_about_a_million_parameters_and_tied_weights_are_saved_once() -> None:
    plain, tied = lm_model.GPT(lm_model.ModelConfig()), lm_model.GPT(lm_model.ModelConfig(tied=True))
    count = sum(parameter.numel() for parameter in plain.parameters())
    assert 0.9e6 < count < 1.2e6
    assert count - sum(tensor.numel() for tensor in tied.state_dict().values()) == 256 * 128


@pytest.mark.parametrize("options", [(), ("--tied", "--dropout", "0.1"), ("--precision", "bf16")])
def test_it_learns(options: tuple[str, ...]) -> None:
    trainer = make_trainer("--lr", "1e-2", *options)
    order = trainyard.GlobalOrder(len(ramp()), seed=1)
    losses = [step(trainer, order.next_batch(8))[0] for _ in range(40)]
    assert losses[0] > 5 and losses[-1] < 3
    assert trainer.evaluate(ramp()) == trainer.evaluate(ramp()) < 3


def test_the_first_loss_depends_on_the_seed_alone() -> None:
    first = [step(make_trainer("--seed", seed), torch.arange(8)) for seed in ("1", "1", "2")]
    assert first[0] == first[1] != first[2]


def test_gradient_accumulation_equals_the_whole_batch() -> None:
    whole, parts = make_trainer(), make_trainer("--gradient-accumulation", "4")
    order = trainyard.GlobalOrder(len(ramp()), seed=1)
    for _ in range(3):
        indices_B = order.next_batch(8)
        assert step(parts, indices_B) == pytest.approx(step(whole, indices_B), rel=1e-5)
    for left, right in zip(whole.net.parameters(), parts.net.parameters(), strict=True):
        torch.testing.assert_close(left, right, rtol=1e-4, atol=1e-5)


def test_clipping_bounds_the_update_and_reports_the_norm_before_it() -> None:
    """AdamW forgets the scale of a gradient, so the gradients themselves are looked at, through plain SGD."""
    moved = {}
    for clip in ("0", "0.01"):
        trainer = make_trainer("--grad-clip", clip)
        before = torch.cat([parameter.detach().flatten() for parameter in trainer.net.parameters()])
        sgd = dataclasses.replace(trainer, optimizer=torch.optim.SGD(trainer.net.parameters(), lr=1.0))
        _, norm = step(sgd, torch.arange(8))
        after = torch.cat([parameter.detach().flatten() for parameter in trainer.net.parameters()])
        moved[clip] = ((after - before).norm().item(), norm)
    assert moved["0"][0] == pytest.approx(moved["0"][1], rel=1e-3)
    assert moved["0.01"] == (pytest.approx(0.01, rel=1e-3), moved["0"][1])


def test_the_learning_rate_rises_then_falls_along_a_cosine_and_resumes() -> None:
    options = ("--steps", "20", "--warmup-steps", "4", "--lr", "1e-3", "--min-lr", "1e-4")
    rates = learning_rates(20, *options)
    assert rates[:5] == sorted(rates[:5]) and rates[4] == pytest.approx(1e-3)
    assert rates[4:] == sorted(rates[4:], reverse=True) and rates[19] == pytest.approx(1e-4, rel=0.2)
    assert min(rates) >= 1e-4
    trainer = make_trainer(*options)
    schedule = train.make_schedule(trainer.optimizer, trainer.args)
    for _ in range(7):
        trainer.optimizer.step()
        schedule.step()
    resumed = train.make_schedule(make_trainer(*options).optimizer, trainer.args)
    resumed.load_state_dict(json.loads(json.dumps(schedule.state_dict())))
    assert resumed.get_last_lr()[0] == rates[7]


def learning_rates(count: int, *options: str) -> list[float]:
    trainer = make_trainer(*options)
    schedule = train.make_schedule(trainer.optimizer, trainer.args)
    rates = []
    for _ in range(count):
        rates.append(schedule.get_last_lr()[0])
        trainer.optimizer.step()
        schedule.step()
    return rates


def test_evaluation_and_generation_leave_the_rng_as_it_was() -> None:
    trainer = make_trainer("--dropout", "0.1")
    for use in uses_of(trainer):
        before = torch.get_rng_state()
        assert use() == use()
        assert torch.equal(torch.get_rng_state(), before)
    trainer.net.train()
    step(trainer, torch.arange(8))
    assert not torch.equal(torch.get_rng_state(), before)  # the control: a step with dropout does draw


def uses_of(trainer: train.Trainer) -> list[Callable[[], object]]:
    return [
        lambda: trainer.evaluate(ramp()),
        lambda: lm_model.generate(trainer.net.eval(), b"ab", 30, 16, seed=1),
    ]


def test_generated_text_begins_with_the_prompt_and_has_the_length_asked_for() -> None:
    text = lm_model.generate(make_trainer().net, b"def ", 50, 16, seed=3)
    assert text.startswith(b"def ") and len(text) == 54
