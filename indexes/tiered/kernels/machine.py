"""How kernels become machine code, and the few instructions that Python has no word for.

Machine code is kept on disk, beside the package or in ``NUMBA_CACHE_DIR``: only the first use on a
machine compiles, for some seconds. What is kept counts as old as soon as any module of this
package changes, since callers contain what they call.
"""

from __future__ import annotations

import mmap
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numba.core import types
from numba.extending import intrinsic
from numpy.typing import NDArray

__all__ = [
    "F32",
    "I32",
    "I64",
    "U8",
    "U16",
    "U64",
    "address_of",
    "announce",
    "bits_set",
    "compiled",
    "f32_at",
    "half",
    "i32_at",
    "i64_at",
    "in_memory",
    "inner",
    "part",
    "prefetch",
    "summing",
    "table_at",
    "u16_at",
    "u64_at",
]

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]
U8 = NDArray[np.uint8]
U16 = NDArray[np.uint16]
U64 = NDArray[np.uint64]

_LINE_BYTES = 64
_Function = TypeVar("_Function", bound=Callable[..., Any])
_SOURCES = sorted(Path(__file__).parent.glob("*.py"))
_STAMP = [(path.name, path.stat().st_mtime_ns, path.stat().st_size) for path in _SOURCES]


def _compiled_with(function: Any, **options: Any) -> Any:
    made = numba.njit(nogil=True, error_model="numpy", no_cfunc_wrapper=True, **options)(function)
    try:
        made.enable_caching()
    except RuntimeError:  # neither the package nor the user's cache folder can be written
        return made
    made._cache._cache_file._source_stamp = _STAMP
    return made


def compiled(function: _Function) -> _Function:
    """Machine code without the interpreter, kept on disk; a division by zero gives infinity."""
    made: _Function = _compiled_with(function)
    return made


def inner(function: _Function) -> _Function:
    """The same, for what only other kernels call: there is no way in from Python."""
    made: _Function = _compiled_with(function, no_cpython_wrapper=True)
    return made


def part(function: _Function) -> _Function:
    """A part of the one kernel that calls it: compiled there, where its loops then stand."""
    made: _Function = numba.njit(inline="always")(function)
    return made


def summing(function: _Function) -> _Function:
    """`inner`, sums and extremes taken in whatever order is fastest; no value may be NaN.

    The order is fixed when it is compiled, so that results are the same in every run.
    """
    made: _Function = _compiled_with(
        function, no_cpython_wrapper=True, fastmath={"reassoc", "contract", "nsz", "nnan"}
    )
    return made


def _instruction(code: Callable[..., Any]) -> Any:
    """A function of one's own in the compiler's words."""
    return intrinsic(code)


# Instructions -----------------------------------------------------------------------------


@_instruction
def bits_set(_context: Any, _word: Any) -> Any:
    """Bits set in a word: one instruction where the processor has it, for eight words at a time."""

    def code(_target: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.int64(types.uint64), code


@_instruction
def half(_context: Any, _bits: Any) -> Any:
    """The value of a float16 given as its bits."""
    from llvmlite import ir

    def code(_target: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.fpext(builder.bitcast(arguments[0], ir.HalfType()), ir.FloatType())

    return types.float32(types.uint16), code


@_instruction
def _prefetch_line(_context: Any, _address: Any) -> Any:
    """Ask for a line of memory that is needed soon."""
    from llvmlite import ir

    def code(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        word, pointer = ir.IntType(32), ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [pointer, word, word, word])
        fetch = builder.module.declare_intrinsic("llvm.prefetch", [pointer], kind)
        to_read, once_more, data = (ir.Constant(word, value) for value in (0, 3, 1))
        address = builder.inttoptr(arguments[0], pointer)
        builder.call(fetch, [address, to_read, once_more, data])
        return context.get_dummy_value()

    return types.void(types.int64), code


@inner
def prefetch(address: int, size: int) -> None:
    """Ask for memory that is needed soon."""
    for line in range(0, size, _LINE_BYTES):
        _prefetch_line(address + line)


# Arrays at addresses ----------------------------------------------------------------------


@_instruction
def address_of(_context: Any, array: Any) -> Any:
    """Where an array's first item stands; keep the array alive."""

    def code(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        from numba.np.arrayobj import make_array

        data = make_array(array)(context, builder, arguments[0]).data
        return builder.ptrtoint(data, context.get_value_type(types.int64))

    return types.int64(array), code


def _array_at(item: Any, columns: int = 0) -> Any:
    """A kernel that makes a C-contiguous array (rows,) or (rows, columns) of an address and rows.

    What `numba.carray` does, in fewer steps to compile.
    """
    shape = types.Array(item, 2 if columns else 1, "C")

    @_instruction
    def array_at(_context: Any, _address: Any, _rows: Any) -> Any:
        def code(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            from numba.np.arrayobj import make_array, populate_array

            array = make_array(shape)(context, builder)
            address, rows = arguments
            size = item.bitwidth // 8
            extents = [rows, rows.type(columns)] if columns else [rows]
            strides = [size * columns, size] if columns else [size]
            populate_array(
                array,
                data=builder.inttoptr(address, array.data.type),
                shape=extents,
                strides=[rows.type(stride) for stride in strides],
                itemsize=rows.type(size),
                meminfo=None,
            )
            return array._getvalue()

        return shape(types.int64, types.int64), code

    return array_at


f32_at, i32_at, i64_at = (_array_at(item) for item in (types.float32, types.int32, types.int64))
u16_at, u64_at = _array_at(types.uint16), _array_at(types.uint64)


def table_at(columns: int) -> Any:
    """As `i64_at`, of rows with so many columns."""
    return _array_at(types.int64, columns)


# Pages of maps ----------------------------------------------------------------------------

# Of the C library, called without the interpreter. Where a system lacks them nothing is announced:
# pages are then read one after the other as they are touched.
_ANNOUNCES = sys.platform.startswith("linux")
_int, _word = cast("Any", types.int32), cast("Any", types.intp)
_mincore: Any = types.ExternalFunction("mincore", _int(_word, _word, _word))
_madvise: Any = types.ExternalFunction("madvise", _int(_word, _word, _int))
_WILL_NEED = 3
_SYSTEM_PAGE = mmap.PAGESIZE


@inner
def announce(address: int, size: int) -> None:
    """Have the pages of a map read in the background."""
    if _ANNOUNCES:
        start = address - address % _SYSTEM_PAGE
        _madvise(start, address + size - start, _WILL_NEED)


@inner
def in_memory(address: int, scratch: I64) -> bool:
    """Whether a page of a map is in memory; false where that cannot be known.

    Args:
        address: in the page.
        scratch: (at least 1,) i64.
    """
    if not _ANNOUNCES:
        return False
    _mincore(address - address % _SYSTEM_PAGE, _SYSTEM_PAGE, address_of(scratch))
    return bool(scratch[0] & 1)
