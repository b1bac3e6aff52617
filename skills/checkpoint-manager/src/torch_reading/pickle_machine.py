"""The machine that a pickle is a program for, with data in place of effects: it imports nothing and calls nothing.

Lists, tuples, numbers and text become themselves; whatever unpickling would import or call becomes a placeholder (Global, Call), and
its name is judged. Dictionaries are kept as pairs, because hashing a key from outside can take for ever (a tuple that shares its parts
is exponentially deep).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch_reading.pickle_names import CALLS_ITS_FIRST, Suspicions
from torch_reading.pickle_values import Call, Global, Group, Pairs, Persistent, PickleError

MAX_NESTING = 1000
"""Tuples in tuples: they are made from the inside, so that nothing else bounds their depth."""
MAX_NESTED_PICKLES = 1000

PLAIN_VALUES = (
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "STRING", "BINSTRING", "SHORT_BINSTRING"),
)
BYTES = ("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8")
EMPTY = ("collections.OrderedDict", "builtins.dict")
"""Called without arguments they are dictionaries."""
_MARK = object()


class Machine:
    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.suspicions = Suspicions()
        self.references: list[Persistent] = []
        self.blobs: list[bytes] = []
        """Bytes that may be pickles themselves."""
        self.is_too_deep = False
        self._depths: dict[int, int] = {}

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

    def name(self, module: Any, name: Any) -> Any:
        if not isinstance(module, str) or not isinstance(name, str):
            self.suspicions.add("(a computed name)")
            return Call(None, (module, name))
        self.suspicions.judge(module, name)
        return Global(module, name)

    def call(self, function: Any, args: Any) -> Any:
        if not isinstance(function, Global):
            self.suspicions.add("(a computed function)")
            return Call(function, args)
        self.suspicions.judge_call(function.module, function.name)
        if str(function) in CALLS_ITS_FIRST and isinstance(args, tuple) and args:
            self._judge_inner_call(args[0])
        elif str(function) in EMPTY and args == ():
            return Pairs()
        elif str(function) == "_codecs.encode" and isinstance(args, tuple) and len(args) == 2 and isinstance(args[0], str):
            return self.keep(args[0].encode("latin1", "replace"))  # protocol 2 writes bytes like this
        return Call(function, args)

    def _judge_inner_call(self, function: Any) -> None:
        if isinstance(function, Global):
            self.suspicions.judge_call(function.module, function.name)
        else:
            self.suspicions.add("(a computed function)")

    def keep(self, value: bytes) -> bytes:
        """A pickle inside of a pickle is somebody's to load: its names are judged too."""
        is_like_one = len(value) > 3 and value[0] == 0x80 and 2 <= value[1] <= 5 and value[-1] == 0x2E
        if is_like_one and len(self.blobs) < MAX_NESTED_PICKLES:
            self.blobs.append(value)
        return value

    def pack(self, values: list[Any]) -> None:
        """A tuple onto the stack. Only depths from 2 are noted; an object that is gone may have left its id to this one."""
        made = tuple(values)
        depth = 1 + max((self._depths.get(id(value), 1) for value in values if type(value) is tuple), default=0)
        if depth > MAX_NESTING:
            self.is_too_deep, made, depth = True, (), 1
        if depth > 1:
            self._depths[id(made)] = depth
        else:
            self._depths.pop(id(made), None)
        self.stack.append(made)

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
            self.suspicions.add(f"(state set on a {type(target).__name__})")

    # --- steps: one opcode that is more than a line of STEPS ---

    def take(self, count: int) -> None:
        values = [self.pop() for _ in range(count)]
        self.pack(values[::-1])

    def reduce(self) -> None:
        args, function = self.pop(), self.pop()
        self.stack.append(self.call(function, args))

    def new_object(self) -> None:
        """Unlike REDUCE it takes a class only, and calls its `__new__`."""
        args, function = self.pop(), self.pop()
        self.stack.append(self.make(function, args))

    def make(self, function: Any, args: Any) -> Any:
        return (
            Call(function, args) if isinstance(function, Global) and str(function) not in EMPTY else self.call(function, args)
        )

    def new_object_ex(self) -> None:
        keywords, args, function = self.pop(), self.pop(), self.pop()
        made = self.make(function, args)
        if isinstance(made, Call) and isinstance(keywords, Pairs):
            made.pairs.items.extend(keywords.items)
        self.stack.append(made)

    def instance(self, arg: str) -> None:
        args = tuple(self.pop_to_mark())
        self.stack.append(self.call(self.name(*arg.split(" ", 1)), args))

    def make_object(self) -> None:
        function, *args = self.pop_to_mark() or [None]
        self.stack.append(self.call(function, tuple(args)))

    def stack_global(self) -> None:
        name, module = self.pop(), self.pop()
        self.stack.append(self.name(module, name))

    def extension(self, code: int) -> None:
        self.suspicions.add(f"(copyreg extension {code})")
        self.stack.append(Call(None, (code,)))

    def remember(self, index: int) -> None:
        self.memo[index] = self.top()

    def recall(self, index: int) -> None:
        if index not in self.memo:
            raise PickleError(f"memo {index} was never stored")
        self.stack.append(self.memo[index])

    def pair(self) -> None:
        value, key = self.pop(), self.pop()
        self.put_pairs([key, value])

    def make_dict(self) -> None:
        values = self.pop_to_mark()
        self.stack.append(Pairs())
        self.put_pairs(values)

    def refer(self, id: Any) -> None:
        self.references.append(Persistent(id))
        self.stack.append(self.references[-1])


STEPS: dict[str, Callable[[Machine, Any], object]] = {
    **dict.fromkeys(PLAIN_VALUES, lambda m, value: m.stack.append(value)),
    **dict.fromkeys(BYTES, lambda m, value: m.stack.append(m.keep(bytes(value)))),
    **dict.fromkeys(["PROTO", "FRAME", "READONLY_BUFFER"], lambda m, _: None),
    "NONE": lambda m, _: m.stack.append(None),
    "NEWTRUE": lambda m, _: m.stack.append(True),
    "NEWFALSE": lambda m, _: m.stack.append(False),
    "MARK": lambda m, _: m.stack.append(_MARK),
    "EMPTY_LIST": lambda m, _: m.stack.append([]),
    "EMPTY_TUPLE": lambda m, _: m.stack.append(()),
    "EMPTY_DICT": lambda m, _: m.stack.append(Pairs()),
    "EMPTY_SET": lambda m, _: m.stack.append(Group()),
    "TUPLE1": lambda m, _: m.take(1),
    "TUPLE2": lambda m, _: m.take(2),
    "TUPLE3": lambda m, _: m.take(3),
    "TUPLE": lambda m, _: m.pack(m.pop_to_mark()),
    "LIST": lambda m, _: m.stack.append(m.pop_to_mark()),
    "FROZENSET": lambda m, _: m.stack.append(Group(m.pop_to_mark())),
    "DICT": lambda m, _: m.make_dict(),
    "APPEND": lambda m, _: m.extend([m.pop()]),
    **dict.fromkeys(["APPENDS", "ADDITEMS"], lambda m, _: m.extend(m.pop_to_mark())),
    "SETITEM": lambda m, _: m.pair(),
    "SETITEMS": lambda m, _: m.put_pairs(m.pop_to_mark()),
    "POP": lambda m, _: m.stack.pop(),
    "POP_MARK": lambda m, _: m.pop_to_mark(),
    "DUP": lambda m, _: m.stack.append(m.top()),
    **dict.fromkeys(["PUT", "BINPUT", "LONG_BINPUT"], Machine.remember),
    "MEMOIZE": lambda m, _: m.remember(len(m.memo)),
    **dict.fromkeys(["GET", "BINGET", "LONG_BINGET"], Machine.recall),
    "GLOBAL": lambda m, arg: m.stack.append(m.name(*arg.split(" ", 1))),
    "STACK_GLOBAL": lambda m, _: m.stack_global(),
    "REDUCE": lambda m, _: m.reduce(),
    "NEWOBJ": lambda m, _: m.new_object(),
    "NEWOBJ_EX": lambda m, _: m.new_object_ex(),
    "INST": Machine.instance,
    "OBJ": lambda m, _: m.make_object(),
    "BUILD": lambda m, _: m.build(m.pop()),
    "PERSID": Machine.refer,
    "BINPERSID": lambda m, _: m.refer(m.pop()),
    **dict.fromkeys(["EXT1", "EXT2", "EXT4"], Machine.extension),
}
