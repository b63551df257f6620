"""A pickle reader that can't run code: plain containers, numbers, strings and tensors, no more.

The opcodes are interpreted here, on inert values; nothing that a pickle names is ever imported or
called. So the usual attacks (`os.system` by REDUCE, chains of getattr, instances by BUILD) have
nothing to act on, and a huge memo index or a deep nesting costs no more than its own bytes.
"""

from __future__ import annotations

import io
import pickletools
from dataclasses import dataclass
from typing import Any

from edgespike.errors import DataError
from edgespike.model.header import are_counts, describe, printable

MAX_PICKLE_BYTES = 4 << 20  # the 0.8B checkpoint takes 40 kB
_MAX_RANK = 8

# torch storage class -> our element type
STORAGE_TYPES = {
    "FloatStorage": "F32",
    "HalfStorage": "F16",
    "BFloat16Storage": "BF16",
    "DoubleStorage": "F64",
    "BoolStorage": "BOOL",
    "ByteStorage": "U8",
    "CharStorage": "I8",
    "ShortStorage": "I16",
    "IntStorage": "I32",
    "LongStorage": "I64",
}
_REBUILD = ("torch._utils", "_rebuild_tensor_v2")
_PARAMETER = ("torch._utils", "_rebuild_parameter")
_ORDERED_DICT = ("collections", "OrderedDict")


@dataclass(frozen=True, slots=True)
class Storage:
    """A typed storage: zip entry `data/<key>`, `elements` of `dtype`."""

    key: str
    dtype: str
    elements: int


@dataclass(frozen=True, slots=True)
class TensorRef:
    """A view of a storage: `offset` and `strides` in elements; it lies within the storage."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Global:
    module: str
    name: str


_MARK = object()


def unpickle(data: bytes) -> Any:
    """The value that `data` describes; DataError when it is malformed or names anything else."""
    if len(data) > MAX_PICKLE_BYTES:
        raise DataError(f"its pickle has {len(data)} bytes, more than {MAX_PICKLE_BYTES}")
    return _Machine().run(data)


class _Machine:
    """The stack machine of PEP 307 and PEP 3154, for the opcodes that containers need."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self, data: bytes) -> Any:
        try:
            for opcode, argument, _ in pickletools.genops(io.BytesIO(data)):
                if opcode.name == "STOP":
                    return self.stack.pop()
                self.step(opcode.name, argument)
        except IndexError:
            raise DataError("its pickle takes more from the stack than is there") from None
        except ValueError as error:  # from genops: truncated or malformed
            raise DataError(f"its pickle is malformed: {printable(str(error))}") from None
        raise DataError("its pickle has no end")

    def step(self, opcode: str, argument: Any) -> None:
        push, pop = self.stack.append, self.stack.pop
        match opcode:
            case "PROTO" | "FRAME":
                pass
            case "INT" | "BININT" | "BININT1" | "BININT2" | "LONG" | "LONG1" | "LONG4":
                push(argument)
            case "FLOAT" | "BINFLOAT" | "STRING" | "BINSTRING" | "SHORT_BINSTRING" | "UNICODE":
                push(argument)
            case "BINUNICODE" | "SHORT_BINUNICODE" | "BINUNICODE8":
                push(argument)
            case "BINBYTES" | "SHORT_BINBYTES" | "BINBYTES8":
                push(argument)
            case "NONE":
                push(None)
            case "NEWTRUE" | "NEWFALSE":
                push(opcode == "NEWTRUE")
            case "EMPTY_DICT":
                push({})
            case "EMPTY_LIST":
                push([])
            case "EMPTY_TUPLE":
                push(())
            case "MARK":
                push(_MARK)
            case "POP":
                pop()
            case "POP_MARK":
                self.to_mark()
            case "LIST":
                push(self.to_mark())
            case "TUPLE":
                push(tuple(self.to_mark()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                push(tuple([pop() for _ in range(int(opcode[-1]))][::-1]))
            case "DICT":
                items = self.to_mark()
                push({})
                self.fill_dict(items)
            case "APPEND":
                value = pop()
                self.container(list).append(value)
            case "APPENDS":
                items = self.to_mark()
                self.container(list).extend(items)
            case "SETITEM":
                value, key = pop(), pop()
                self.fill_dict([key, value])
            case "SETITEMS":
                self.fill_dict(self.to_mark())
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                self.memo[argument] = self.stack[-1]
            case "MEMOIZE":
                self.memo[len(self.memo)] = self.stack[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                self.recall(argument)
            case "GLOBAL":
                module, _, name = argument.partition(" ")
                self.find(module, name)
            case "STACK_GLOBAL":
                name, module = pop(), pop()
                self.find(module, name)
            case "BINPERSID":
                self.persistent()
            case "REDUCE":
                self.reduce()
            case "BUILD":  # attributes of an OrderedDict (a state dict's `_metadata`): not needed
                pop()
                self.container(dict)
            case _:
                raise DataError(f"its pickle uses {opcode}, which no checkpoint needs")

    def to_mark(self) -> list[Any]:
        """Pop down to the last mark."""
        values: list[Any] = []
        while (value := self.stack.pop()) is not _MARK:
            values.append(value)
        values.reverse()
        return values

    def container(self, kind: type[Any]) -> Any:
        """The container on top of the stack that the next operation fills."""
        top = self.stack[-1]
        if type(top) is not kind:
            raise DataError(f"its pickle fills {describe(top)} where a {kind.__name__} is due")
        return top

    def fill_dict(self, flat: list[Any]) -> None:
        target = self.container(dict)
        if len(flat) % 2:
            raise DataError("its pickle has a key without a value")
        for key, value in zip(flat[::2], flat[1::2], strict=True):
            if type(key) not in (str, int):  # hashing a nested tuple could exhaust the C stack
                raise DataError(f"its pickle has {describe(key)} for a key")
            target[key] = value

    def find(self, module: object, name: object) -> None:
        if type(module) is not str or type(name) is not str:
            raise DataError("its pickle names a class by what is no string")
        known = (module, name) in (_REBUILD, _PARAMETER, _ORDERED_DICT)
        if not known and not (module == "torch" and name in STORAGE_TYPES):
            raise DataError(
                f"its pickle names {printable(f'{module}.{name}')}, which could run code; "
                "save it again with tensors and plain containers only"
            )
        self.stack.append(_Global(module, name))

    def persistent(self) -> None:
        value = self.stack.pop()
        if not (isinstance(value, tuple) and len(value) == 5 and value[0] == "storage"):
            raise DataError(f"its pickle refers to {describe(value)} where a storage is due")
        _, kind, key, _, elements = value
        if not isinstance(kind, _Global) or kind.module != "torch" or type(key) is not str:
            raise DataError("its pickle has a storage of no known type")
        if not are_counts([elements]):
            raise DataError(f"storage {printable(key)}: {describe(elements)} elements")
        self.stack.append(Storage(key, STORAGE_TYPES[kind.name], elements))

    def reduce(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, _Global) or not isinstance(arguments, tuple):
            raise DataError("its pickle calls what is no function")
        target = (function.module, function.name)
        if target == _ORDERED_DICT and arguments == ():
            self.stack.append({})
        elif target == _REBUILD and len(arguments) in (6, 7):
            self.stack.append(_tensor(*arguments[:4]))
        elif target == _PARAMETER and arguments and isinstance(arguments[0], TensorRef):
            self.stack.append(arguments[0])
        else:
            raise DataError(f"its pickle misuses {function.module}.{function.name}")

    def recall(self, index: int) -> None:
        if index not in self.memo:
            raise DataError(f"its pickle recalls memo {index}, which was never set")
        self.stack.append(self.memo[index])


def _tensor(storage: object, offset: object, shape: object, strides: object) -> TensorRef:
    if not isinstance(storage, Storage):
        raise DataError("its pickle builds a tensor without a storage")
    where = f"storage {printable(storage.key)}"
    if not (isinstance(shape, tuple) and isinstance(strides, tuple) and isinstance(offset, int)):
        raise DataError(f"{where}: a tensor without offset, shape and strides")
    if not (are_counts(shape) and are_counts(strides) and are_counts([offset])):
        raise DataError(f"{where}: a tensor's offset, shape or strides are not whole numbers")
    if len(shape) != len(strides) or len(shape) > _MAX_RANK:
        raise DataError(f"{where}: a tensor has {len(shape)} sizes and {len(strides)} strides")
    last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    if 0 not in shape and last >= storage.elements:
        raise DataError(
            f"{where}: a tensor reaches element {last} of {storage.elements}: out of bounds"
        )
    return TensorRef(storage, offset, shape, strides)
