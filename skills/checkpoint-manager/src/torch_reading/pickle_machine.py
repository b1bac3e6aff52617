"""The opcodes of a pickle as steps of a machine that builds data: nothing is imported, nothing is called.

What unpickling would import or call becomes a Global or a Call, and its name is judged. The opcodes are told in the standard
library's pickletools.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch_reading.pickle_names import judge
from torch_reading.pickle_values import NOT_KNOWN, RUNS_CODE, Call, Global, Group, Pairs, Persistent, PickleError, Suspicion

MAX_FINDINGS = 1000

_MARK = object()


class Machine:
    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.found: dict[Suspicion, None] = {}
        self.references: list[Persistent] = []

    # --- the stack ---

    def pop(self) -> Any:
        value = self.stack.pop()
        if value is _MARK:
            raise PickleError("a value is missing on the stack")
        return value

    def pop_to_mark(self) -> list[Any]:
        for at in range(len(self.stack) - 1, -1, -1):
            if self.stack[at] is _MARK:
                values = self.stack[at + 1 :]
                del self.stack[at:]
                return values
        raise PickleError("a mark is missing on the stack")

    def top(self) -> Any:
        if self.stack[-1] is _MARK:
            raise PickleError("a value is missing on the stack")
        return self.stack[-1]

    # --- names ---

    def suspect(self, name: str, why: str) -> None:
        if len(self.found) < MAX_FINDINGS:
            self.found.setdefault(Suspicion(name[:300], why))

    def name(self, module: Any, name: Any) -> Any:
        if not isinstance(module, str) or not isinstance(name, str):
            self.suspect("(a computed name)", RUNS_CODE)
            return Call(None, (module, name))
        verdict = judge(module, name)
        if verdict != "harmless":
            self.suspect(f"{module}.{name}", RUNS_CODE if verdict == "runs-code" else NOT_KNOWN)
        return Global(module, name)

    def call(self, function: Any, args: Any) -> Any:
        if not isinstance(function, Global):
            self.suspect("(a computed function)", RUNS_CODE)
        elif str(function) in ("collections.OrderedDict", "builtins.dict") and args == ():
            return Pairs()
        elif str(function) == "_codecs.encode" and isinstance(args, tuple) and len(args) == 2 and isinstance(args[0], str):
            return args[0].encode("latin1", "replace")  # protocol 2 writes bytes like this
        return Call(function, args)

    # --- containers ---

    def extend(self, values: list[Any]) -> None:
        target = self.top()
        if isinstance(target, list):
            target.extend(values)
        elif isinstance(target, Group | Call):
            target.items.extend(values)
        else:
            raise PickleError(f"items for a {type(target).__name__}")

    def put_pairs(self, values: list[Any]) -> None:
        target = self.top()
        pairs = target if isinstance(target, Pairs) else target.pairs if isinstance(target, Call) else None
        if pairs is None or len(values) % 2:
            raise PickleError(f"pairs for a {type(target).__name__}")
        pairs.items.extend(zip(values[::2], values[1::2], strict=True))

    def build(self, state: Any) -> None:
        target = self.top()
        if isinstance(target, Call):
            target.state = state
        elif not isinstance(target, Pairs):  # a plain OrderedDict may carry attributes; nobody here needs them
            self.suspect(f"(state set on a {type(target).__name__})", RUNS_CODE)


_Step = Callable[[Machine, Any], None]


def _push(machine: Machine, value: Any) -> None:
    machine.stack.append(value)


def _take(count: int) -> _Step:
    def step(machine: Machine, _: Any) -> None:
        values = [machine.pop() for _ in range(count)]
        machine.stack.append(tuple(reversed(values)))

    return step


def _reduce(machine: Machine, _: Any) -> None:
    args, function = machine.pop(), machine.pop()
    machine.stack.append(machine.call(function, args))


def _new_object_ex(machine: Machine, _: Any) -> None:
    keywords, args, function = machine.pop(), machine.pop(), machine.pop()
    made = machine.call(function, args)
    if isinstance(made, Call) and isinstance(keywords, Pairs):
        made.pairs.items.extend(keywords.items)
    machine.stack.append(made)


def _instance(machine: Machine, arg: str) -> None:
    args = tuple(machine.pop_to_mark())
    machine.stack.append(machine.call(machine.name(*arg.split(" ", 1)), args))


def _object(machine: Machine, _: Any) -> None:
    function, *args = machine.pop_to_mark() or [None]
    machine.stack.append(machine.call(function, tuple(args)))


def _stack_global(machine: Machine, _: Any) -> None:
    name, module = machine.pop(), machine.pop()
    machine.stack.append(machine.name(module, name))


def _extension(machine: Machine, code: int) -> None:
    machine.suspect(f"(copyreg extension {code})", RUNS_CODE)
    machine.stack.append(Call(None, (code,)))


def _remember(machine: Machine, index: int) -> None:
    machine.memo[index] = machine.top()


def _recall(machine: Machine, index: int) -> None:
    if index not in machine.memo:
        raise PickleError(f"memo {index} was never stored")
    machine.stack.append(machine.memo[index])


def _pair(machine: Machine, _: Any) -> None:
    value, key = machine.pop(), machine.pop()
    machine.put_pairs([key, value])


def _dict(machine: Machine, _: Any) -> None:
    values = machine.pop_to_mark()
    machine.stack.append(Pairs())
    machine.put_pairs(values)


def _append(machine: Machine, _: Any) -> None:
    value = machine.pop()
    machine.extend([value])


def _append_all(machine: Machine, _: Any) -> None:
    values = machine.pop_to_mark()
    machine.extend(values)


def _put_all(machine: Machine, _: Any) -> None:
    values = machine.pop_to_mark()
    machine.put_pairs(values)


def _set_state(machine: Machine, _: Any) -> None:
    state = machine.pop()
    machine.build(state)


def _refer(machine: Machine, id: Any) -> None:
    machine.references.append(Persistent(id))
    machine.stack.append(machine.references[-1])


def _drop(machine: Machine, _: Any) -> None:
    machine.stack.pop()


def _drop_to_mark(machine: Machine, _: Any) -> None:
    machine.pop_to_mark()


def _nothing(machine: Machine, _: Any) -> None:
    pass


STEPS: dict[str, _Step] = {
    **dict.fromkeys(["INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"], _push),
    **dict.fromkeys(["UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"], _push),
    **dict.fromkeys(["STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"], _push),
    **dict.fromkeys(["PROTO", "FRAME", "READONLY_BUFFER"], _nothing),
    "NONE": lambda m, _: m.stack.append(None),
    "NEWTRUE": lambda m, _: m.stack.append(True),
    "NEWFALSE": lambda m, _: m.stack.append(False),
    "MARK": lambda m, _: m.stack.append(_MARK),
    "EMPTY_LIST": lambda m, _: m.stack.append([]),
    "EMPTY_TUPLE": lambda m, _: m.stack.append(()),
    "EMPTY_DICT": lambda m, _: m.stack.append(Pairs()),
    "EMPTY_SET": lambda m, _: m.stack.append(Group()),
    "TUPLE1": _take(1),
    "TUPLE2": _take(2),
    "TUPLE3": _take(3),
    "TUPLE": lambda m, _: m.stack.append(tuple(m.pop_to_mark())),
    "LIST": lambda m, _: m.stack.append(m.pop_to_mark()),
    "FROZENSET": lambda m, _: m.stack.append(Group(m.pop_to_mark())),
    "DICT": _dict,
    "APPEND": _append,
    "APPENDS": _append_all,
    "ADDITEMS": _append_all,
    "SETITEM": _pair,
    "SETITEMS": _put_all,
    "POP": _drop,
    "POP_MARK": _drop_to_mark,
    "DUP": lambda m, _: m.stack.append(m.top()),
    "PUT": _remember,
    "BINPUT": _remember,
    "LONG_BINPUT": _remember,
    "MEMOIZE": lambda m, _: _remember(m, len(m.memo)),
    "GET": _recall,
    "BINGET": _recall,
    "LONG_BINGET": _recall,
    "GLOBAL": lambda m, arg: m.stack.append(m.name(*arg.split(" ", 1))),
    "STACK_GLOBAL": _stack_global,
    "REDUCE": _reduce,
    "NEWOBJ": _reduce,
    "NEWOBJ_EX": _new_object_ex,
    "INST": _instance,
    "OBJ": _object,
    "BUILD": _set_state,
    "PERSID": _refer,
    "BINPERSID": lambda m, _: _refer(m, m.pop()),
    **dict.fromkeys(["EXT1", "EXT2", "EXT4"], _extension),
}
