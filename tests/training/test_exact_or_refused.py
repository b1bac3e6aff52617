"""What could not be restored as it was is refused by its name when the Checkpointer is made or at the first step; nothing half restored trains on."""

from __future__ import annotations

import collections
import enum
import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import trainyard
from torch import nn
from trainyard import selfcheck
from trainyard.agreement import Agreement

from tests.training.kinds_of_objects import KINDS, adamw, train

pytest_plugins = ["tests.training.rt_fixtures"]

Point = collections.namedtuple("Point", "x")


class Colour(enum.Enum):
    RED = 1


@pytest.fixture
def folder(memory_path: Path) -> Path:
    return memory_path / "checkpoints"


class Keeps:
    """An object with state; what it holds is what it saves."""

    def __init__(self, state: Any) -> None:
        self.state = state

    def state_dict(self) -> Any:
        return self.state

    def load_state_dict(self, state: Any) -> None:
        self.state = state


class Plain(torch.Tensor):
    """A subclass with memory of its own."""


def with_buffer(buffer: torch.Tensor) -> nn.Module:
    model = nn.Linear(2, 2)
    model.register_buffer("odd", buffer)
    return model


def of_class(module: str, name: str, *bases: type) -> type:
    """A class as another package defines it; the package itself is not here."""
    return type(name, bases, {"__module__": module})


def marked(name: str) -> nn.Module:
    model = nn.Linear(2, 2)
    setattr(model.weight, name, True)
    return model


def lazy() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "Lazy modules are a new feature"
        return nn.Sequential(nn.LazyLinear(2))


def two_tensor() -> torch.Tensor:
    from torch.testing._internal.two_tensor import TwoTensor

    return TwoTensor(torch.zeros(2), torch.zeros(2))


Module, SGD = nn.Linear, torch.optim.SGD
WHEN_MADE: dict[str, tuple[Callable[[], Any], str]] = {
    "a lazy module": (lazy, r"model\.0\.weight: has no shape yet \(a lazy module\): pass one batch through the model"),
    "the meta device": (lambda: nn.Linear(2, 2, device="meta"), r"model\.weight: is on the meta device .*to_empty"),
    "a sparse buffer": (
        lambda: with_buffer(torch.eye(2).to_sparse()),
        r"model\.odd: a sparse_coo tensor cannot be saved; keep it as",
    ),
    "a CSR buffer": (lambda: with_buffer(torch.eye(2).to_sparse_csr()), r"model\.odd: a sparse_csr tensor"),
    "a quantized buffer": (
        lambda: with_buffer(torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)),
        r"model\.odd: a quantized tensor cannot be saved",
    ),
    "a type without a form": (
        lambda: with_buffer(torch.zeros(2, dtype=torch.int8).view(torch.int4)),
        r"model\.odd: tensors of torch\.int4 cannot be stored",
    ),
    "a shell around tensors": (lambda: with_buffer(two_tensor()), r"model\.odd: a TwoTensor cannot be saved"),
    "overlapping elements": (
        lambda: with_buffer(torch.zeros(5).as_strided((3, 3), (1, 1))),
        r"model\.odd: its elements overlap in memory; keep a copy of its own",
    ),
    "DeepSpeed": (
        lambda: of_class("deepspeed.runtime.engine", "DeepSpeedEngine", Module)(2, 2),
        r"model is DeepSpeedEngine of deepspeed: .* model_engine.save_checkpoint",
    ),
    "apex's sharded optimizer": (
        lambda: of_class("apex.contrib.optimizers.distributed_fused_adam", "DistributedFusedAdam", SGD)(
            nn.Linear(2, 2).parameters(), lr=0.1
        ),
        r"model is DistributedFusedAdam of apex",
    ),
    "fairscale inside": (
        lambda: nn.Sequential(of_class("fairscale.nn.data_parallel", "ShardedDataParallel", Module)(2, 2)),
        r"model\.0 is ShardedDataParallel of fairscale: .*fully_shard",
    ),
    "a part of Megatron's": (
        lambda: marked("tensor_model_parallel"),
        r"model\.weight is this rank's part of a parameter: Megatron",
    ),
    "a part of ZeRO-3's": (lambda: marked("ds_id"), r"model\.weight is this rank's part of a parameter: DeepSpeed"),
}


@pytest.mark.parametrize("what", WHEN_MADE)
def test_refused_when_the_checkpointer_is_made_and_nothing_is_left_behind(what: str, folder: Path) -> None:
    make, words = WHEN_MADE[what]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own words on sparse and quantized tensors
        with pytest.raises(trainyard.ConfigError, match=words):
            trainyard.Checkpointer(folder, model=make())
    assert not folder.exists()


def test_an_optimizer_of_unknown_parameters_is_refused_when_the_checkpointer_is_made(folder: Path) -> None:
    """An optimizer made before fully_shard holds parameters that the model no longer has."""
    with pytest.raises(trainyard.TrainyardError, match=r"optimizer holds a parameter of shape \(2, 2\) of no module"):
        trainyard.Checkpointer(folder, model=nn.Linear(2, 2), optimizer=SGD(nn.Linear(2, 2).parameters(), lr=0.1))


def test_wrappers_with_a_sharding_of_their_own_are_refused(folder: Path) -> None:
    from torch.distributed.fsdp import FullyShardedDataParallel
    from torch.distributed.optim import ZeroRedundancyOptimizer

    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # FSDP1 is deprecated, and says so
            flat = nn.Sequential(FullyShardedDataParallel(nn.Linear(2, 2), device_id=torch.device("cpu")))
            model = nn.Linear(2, 2)
            zero = ZeroRedundancyOptimizer(model.parameters(), SGD, lr=0.1)
        with pytest.raises(trainyard.ConfigError, match=r"model\.0: FullyShardedDataParallel .*fully_shard"):
            trainyard.Checkpointer(folder, model=flat)
        with pytest.raises(trainyard.ConfigError, match=r"optimizer: ZeroRedundancyOptimizer keeps another state on each rank"):
            trainyard.Checkpointer(folder, model=model, optimizer=zero)
    finally:
        dist.destroy_process_group()


# --- at the first step -------------------------------------------------------------------------------------------


def state_in_optimizer(value: Any) -> dict[str, Any]:
    model = nn.Linear(2, 2)
    optimizer = SGD(model.parameters(), lr=0.1)
    optimizer.state[model.weight]["slot"] = value
    return {"model": model, "optimizer": optimizer}


def other(value: Any) -> dict[str, Any]:
    return {"model": nn.Linear(2, 2), "thing": Keeps({"slot": value})}


class Fails(Keeps):
    def state_dict(self) -> Any:
        raise NotImplementedError("use distributed_state_dict")


class Drops(nn.Linear):
    """Leaves a trained parameter out of its state."""

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        return {key: value for key, value in super().state_dict(*args, **kwargs).items() if key != "bias"}


class DropsAndRenames(nn.Linear):
    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        return {"w": super().state_dict(*args, **kwargs)["weight"][:1].clone()}


class OnlyGets(nn.Linear):
    def get_extra_state(self) -> Any:
        return 1


class ClonesAll(nn.Linear):
    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        return {key: value + 0 if "odd" not in key else value for key, value in super().state_dict(*args, **kwargs).items()}


def expanded_and_loaded() -> nn.Module:
    model = ClonesAll(2, 2)
    model.register_buffer("odd", torch.zeros(1).expand(3))
    return model


class Copied(nn.Linear):
    """Grows a name that its fresh self does not have... and gives it another one at each call."""

    calls = 0

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        return {**super().state_dict(*args, **kwargs), f"call{self.calls}": torch.zeros(1)}


AT_THE_FIRST_STEP: dict[str, tuple[Callable[[], dict[str, Any]], str]] = {
    "a sparse slot": (
        lambda: state_in_optimizer(torch.eye(2).to_sparse()),
        r"optimizer\.state\.weight\.slot: a sparse_coo tensor",
    ),
    "a slot of a subclass": (
        lambda: state_in_optimizer(torch.zeros(2).as_subclass(Plain)),
        r"optimizer\.state\.weight\.slot: a Plain would come back as a plain tensor",
    ),
    "a named tuple in a slot": (lambda: state_in_optimizer(Point(1)), r"optimizer\.state\.weight\.slot is a named tuple \(x\)"),
    "an enum in a slot": (
        lambda: state_in_optimizer([Colour.RED]),
        r"optimizer\.state\.weight\.slot\.0 is the member RED of an enum",
    ),
    "a function": (lambda: other(len), r"thing\.slot: a builtin_function_or_method has no form in a checkpoint; keep numbers"),
    "a generator": (lambda: other(torch.Generator()), r"thing\.slot: a Generator has no form"),
    "a state_dict that fails": (
        lambda: {"thing": Fails(0)},
        r"thing: Fails\.state_dict\(\) failed: NotImplementedError: use distributed_state_dict",
    ),
    "a tensor per rank": (
        lambda: {"thing": trainyard.PerRank(Keeps({"a": torch.zeros(1)}))},
        r"thing\.a: a tensor cannot be in the state of a PerRank object",
    ),
    "a trained parameter left out": (
        lambda: {"model": Drops(2, 2)},
        r"model\.bias is trained and not in the state_dict\(\) of model",
    ),
    "a part left out": (lambda: {"model": DropsAndRenames(2, 2)}, r"model\.weight is trained and not in the state_dict\(\)"),
    "extra state without a way back": (
        lambda: {"model": nn.Sequential(OnlyGets(2, 2))},
        r"model\.0: OnlyGets has get_extra_state and no set_extra_state",
    ),
    "an expanded buffer of a module that is loaded": (
        lambda: {"model": expanded_and_loaded()},
        r"model\.odd is expanded, which load_state_dict cannot fill",
    ),
    "names that change": (lambda: {"model": Copied(2, 2)}, r"what would be saved cannot be read back: model\.call\d is"),
}


@pytest.mark.parametrize("what", AT_THE_FIRST_STEP)
def test_refused_at_the_first_step_and_nothing_is_saved(what: str, folder: Path) -> None:
    make, words = AT_THE_FIRST_STEP[what]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        checkpointer = trainyard.Checkpointer(folder, **make())
        checkpointer.restore()
        with pytest.raises(trainyard.ConfigError, match=words) as refusal:
            checkpointer.step(1)
    assert "before the run costs hours" in str(refusal.value)
    checkpointer.close()
    assert not list(folder.glob("step_*"))


def test_what_comes_back_as_a_plain_value_or_rounded_is_said_at_the_first_step(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Half(nn.Linear):
        def state_dict(self, *args: Any, **kwargs: Any) -> Any:
            return {key: value.half() for key, value in super().state_dict(*args, **kwargs).items()}

    class Words(dict[str, int]):
        pass

    class Frozen(nn.Linear):
        """Adapters are saved like that: what is frozen comes from elsewhere."""

        def state_dict(self, *args: Any, **kwargs: Any) -> Any:
            return {"bias": super().state_dict(*args, **kwargs)["bias"]}

    adapter = Frozen(2, 2)
    adapter.weight.requires_grad_(False)
    adapter.register_buffer("seen", torch.zeros(1))
    things = {"thing": Keeps({"words": Words(a=1)}), "adapter": adapter}
    checkpointer = trainyard.Checkpointer(folder, model=Half(2, 2), **things)
    checkpointer.restore()
    checkpointer.step(1)
    checkpointer.close()
    said = capsys.readouterr().out
    assert "note: thing.words: a Words comes back as a plain value after a restart" in said
    assert (
        "note: model.weight is torch.float32 and its state_dict() gives torch.float16: a restart goes on from rounded" in said
    )


def test_the_self_check_copies_no_state_and_passes_every_kind_that_is_saved() -> None:
    logging.captureWarnings(True)
    for kind in ("optimizer: nested containers", "module: odd buffers", "objects: containers and an averaged model"):
        things = KINDS[kind]()
        train(things, 1)
        assert selfcheck.check(things, Agreement(timeout_s=10)) == []
    logging.captureWarnings(False)


# --- nothing changes before it is known to fit -------------------------------------------------------------------


class Checks(Keeps):
    """Says beforehand what it does not take."""

    def check_state_dict(self, state: Any) -> None:
        assert state == self.state, f"{state} is not {self.state}"


class Refuses(Keeps):
    def load_state_dict(self, state: Any) -> None:
        raise ValueError("the dataset has 9 shards, the state 8")


class Forgets(nn.Linear):
    """Its load_state_dict does nothing, and says nothing."""

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        return None

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        return {key: value.clone() for key, value in super().state_dict(*args, **kwargs).items()}


def written(folder: Path, **things: Any) -> None:
    checkpointer = trainyard.Checkpointer(folder, **things)
    checkpointer.restore()
    checkpointer.step(1)
    checkpointer.close()


MISFITS: dict[str, tuple[Callable[[], Any], Callable[[], Any], str]] = {
    "a data order of another length": (
        lambda: trainyard.GlobalOrder(10),
        lambda: trainyard.GlobalOrder(11),
        "saved with num_samples=10, this run has num_samples=11",
    ),
    "a loader over other data": (
        lambda: trainyard.ResumableLoader(list(range(8)), 2),  # type: ignore[arg-type]
        lambda: trainyard.ResumableLoader(list(range(9)), 2),  # type: ignore[arg-type]
        "num_samples=8, this run has num_samples=9",
    ),
    "another seed for each rank": (
        lambda: trainyard.PerRank(trainyard.GlobalOrder(10)),
        lambda: trainyard.PerRank(trainyard.GlobalOrder(10, seed=1)),
        "seed=0, this run has seed=1",
    ),
    "anybody's check": (lambda: Checks(8), lambda: Checks(9), r"data: Checks does not take what was saved: 8 is not 9"),
    "anybody's refusal": (
        lambda: Keeps({"shards": 8}),
        lambda: Refuses(None),
        r"data: Refuses.load_state_dict refused .*ValueError: the dataset has 9 shards.*end this process",
    ),
}


@pytest.mark.parametrize("what", MISFITS)
def test_a_refusal_leaves_every_weight_as_it_was_and_the_process_cannot_train_on(what: str, folder: Path) -> None:
    before, now, words = MISFITS[what]
    model = nn.Linear(2, 2)
    written(folder, model=model, optimizer=adamw(model), data=before())
    fresh = nn.Linear(2, 2)
    weights = {name: parameter.detach().clone() for name, parameter in fresh.named_parameters()}
    checkpointer = trainyard.Checkpointer(folder, model=fresh, optimizer=adamw(fresh), data=now())
    with pytest.raises(trainyard.MismatchError, match=words):
        checkpointer.restore()
    assert all(torch.equal(parameter, weights[name]) for name, parameter in fresh.named_parameters())
    with pytest.raises(trainyard.MismatchError, match="the restore failed, so this process must not train on"):
        checkpointer.step(1)
    checkpointer.close()
    assert [path.name for path in sorted(folder.glob("step_*"))] == ["step_00000001"]


def test_a_new_beginning_after_a_misfit_is_allowed_and_after_half_a_restore_it_is_not(folder: Path) -> None:
    written(folder, model=nn.Linear(2, 2), data=trainyard.GlobalOrder(10))
    checkpointer = trainyard.Checkpointer(folder, model=nn.Linear(2, 2), data=trainyard.GlobalOrder(11))
    with pytest.raises(trainyard.MismatchError):
        checkpointer.restore()
    assert checkpointer.restore("none") == 0
    checkpointer.step(1)
    checkpointer.close()
    checkpointer = trainyard.Checkpointer(folder, model=nn.Linear(2, 2), data=Refuses(None))
    with pytest.raises(trainyard.MismatchError):
        checkpointer.restore()
    checkpointer.restore("none")
    with pytest.raises(trainyard.MismatchError, match="must not train on"):
        checkpointer.step(1)
    checkpointer.close()


def test_a_module_that_does_not_take_what_it_gave_is_found_out(folder: Path) -> None:
    written(folder, model=Forgets(2, 2))
    checkpointer = trainyard.Checkpointer(folder, model=Forgets(2, 2))
    with pytest.raises(
        trainyard.MismatchError, match=r"model\.(weight|bias) is not what was saved after load_state_dict of model"
    ):
        checkpointer.restore()
    checkpointer.close()


def test_one_value_for_many_places_takes_no_many_values(folder: Path) -> None:
    written(folder, model=with_buffer(torch.tensor([1.0, 2.0])))
    model = with_buffer(torch.zeros(1).expand(2))
    checkpointer = trainyard.Checkpointer(folder, model=model)
    with pytest.raises(trainyard.MismatchError, match=r"model\.odd is expanded here"):
        checkpointer.restore()
    checkpointer.close()
