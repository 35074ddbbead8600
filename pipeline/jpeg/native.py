"""The door to the C code of `csrc/`: baseline JPEGs to small planes or squares of RGB; whether they are whole.

Takes bytes from anywhere; gives arrays, or says where another decoder has to judge (progressive, CMYK, damaged, odd
sampling). An image goes from coefficients to its small planes in one pass: decoded at n/8 of its size by the n lowest
frequencies of each block, then filtered, luma and chroma each at their own resolution, so no pixel is made that is not
needed. The interpreter is free meanwhile. Integer arithmetic gives the same bytes on every processor.
"""

from __future__ import annotations

import ctypes
import functools
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import StageError

Plane = np.ndarray[Any, np.dtype[np.uint8]]
"""[height, width], 0..255."""

_LEAST_RATIO = {1: 1.25}
_LEAST_RATIO_ELSE = 1.09
"""How many times the wanted size an image decoded at n/8 has at least. Above these the result was closer to a Lanczos
filter of the whole image than averaging areas is, on every photo measured; see docs/benchmarks.md."""
_MOST_PIXELS = 1 << 24
_DONE, _UNUSUAL, _NO_MEMORY, _BAD_CALL = 0, 1, 2, 3

_SQUARE = np.dtype([
    ("body", np.uint64), ("size", np.uint64), ("image", np.int32, 2), ("window", np.int32, 4),
    ("is_mirrored", np.int32), ("outcome", np.int32),
])  # fmt: skip
"""`struct square` of csrc/squares.c."""


@dataclass(frozen=True, slots=True)
class Planes:
    """A small image, 4:2:0: `blue` and `red` (Cb, Cr) have half the sides of `luma`, rounded up; None where grey.

    `luma` is a view of an array of even sides, its last row and column repeated: libjpeg-turbo encodes planes in whole
    pairs, and reads what lies behind odd ones.
    """

    luma: Plane
    blue: Plane | None
    red: Plane | None


@dataclass(frozen=True, slots=True)
class Window:
    """The part of an image to shrink, in its pixels as stored, and the size it gets."""

    left: float
    top: float
    width: float
    height: float
    out_width: int
    out_height: int

    def eighths(self) -> int:
        """Eighths of its size that the image is decoded at."""
        ratio = min(self.width / self.out_width, self.height / self.out_height)
        for eighths in range(1, 8):
            if ratio * eighths / 8 >= _LEAST_RATIO.get(eighths, _LEAST_RATIO_ELSE):
                return eighths
        return 8


class _CWindow(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_double) for name in ("left", "top", "width", "height")),
        *((name, ctypes.c_int32) for name in ("out_width", "out_height", "eighths")),
    )


@functools.cache
def is_built() -> bool:
    """Whether the C code was compiled when pairmill was installed."""
    return _file() is not None


def shrink(body: bytes, size: tuple[int, int], window: Window, is_grey: bool = False) -> Planes | None:
    """`window` of the image in `body`, of `size` (width, height) as stored; None where another decoder must judge.

    Raises: StageError: the C code was never compiled. MemoryError.
    """
    width, height = window.out_width, window.out_height
    if width * height > _MOST_PIXELS:
        return None
    half = ((height + 1) // 2, (width + 1) // 2)
    even = np.empty((half[0] * 2, half[1] * 2), np.uint8)
    blue, red = (None, None) if is_grey else (np.empty(half, np.uint8), np.empty(half, np.uint8))
    asked = _CWindow(window.left, window.top, window.width, window.height, width, height, window.eighths())
    planes = [None if plane is None else plane.ctypes.data for plane in (even, blue, red)]
    if _call("pairmill_jpeg_shrink", body, len(body), *size, int(is_grey), ctypes.byref(asked), *planes) != _DONE:
        return None
    even[:, width:] = even[:, width - 1 : width]
    even[height:] = even[height - 1 : height]
    return Planes(even[:height, :width], blue, red)


def is_whole(body: bytes) -> bool:
    """Whether every block of a baseline JPEG is there and nothing is left over; False where others must judge."""
    return _call("pairmill_jpeg_check", body, len(body)) == _DONE


@dataclass(frozen=True, slots=True)
class Squares:
    """What `squares` makes of N images: all arrays of integers, in pixels as stored.

    `images_N2`: width, height of each. `windows_N4`: left, top, width, height of the part to keep; it is squashed where
    it is no square. `mirrored_N`: left and right change places.
    """

    images_N2: np.ndarray
    windows_N4: np.ndarray
    mirrored_N: np.ndarray


def squares(bodies: Sequence[bytes], wanted: Squares, out_NCHW: np.ndarray) -> np.ndarray:
    """Fill `out_NCHW`, uint8 RGB, a square of its side for every body, by a cubic filter that is stretched to shrink.

    Returns: bool N: whether each place was filled. Where it is not, another decoder has to judge, or the image is not
        of the size it was said to be.
    Raises: ValueError: a window outside of its image. StageError: the C code was never compiled. MemoryError.
    """
    count, _, side, _ = out_NCHW.shape
    if not (out_NCHW.flags.c_contiguous and out_NCHW.dtype == np.uint8 and out_NCHW.shape == (count, 3, side, side)):
        raise ValueError(f"out is {out_NCHW.dtype} {out_NCHW.shape}; wanted contiguous uint8 [N, 3, side, side]")
    jobs = np.zeros(len(bodies), _SQUARE)
    pointers = (ctypes.c_char_p * len(bodies))(*bodies)
    jobs["body"] = np.frombuffer(pointers, np.uint64)
    jobs["size"] = [len(body) for body in bodies]
    jobs["image"], jobs["window"], jobs["is_mirrored"] = wanted.images_N2, wanted.windows_N4, wanted.mirrored_N
    _call("pairmill_jpeg_squares", jobs.ctypes.data, count, side, out_NCHW.ctypes.data)
    if (jobs["outcome"] == _NO_MEMORY).any():
        raise MemoryError
    if (jobs["outcome"] == _BAD_CALL).any():
        raise ValueError("squares: called with a window outside of its image")
    return jobs["outcome"] == _DONE


def use_vector_code(wanted: bool) -> bool:
    """Choose between AVX2 and plain code, which give the same pixels. Returns whether AVX2 is used now."""
    return bool(_library().pairmill_jpeg_begin(int(wanted)))


def _call(name: str, *arguments: Any) -> int:
    library = _library()
    try:
        workspace = _IDLE.pop()
    except IndexError:
        workspace = _Workspace(library)
    status = int(getattr(library, name)(workspace.place, *arguments))
    _IDLE.append(workspace)
    if status == _NO_MEMORY:
        raise MemoryError
    if status not in (_DONE, _UNUSUAL):
        raise ValueError(f"{name}: called with a window outside of the image")
    return status


class _Workspace:
    """Tables and buffers that calls use again, one call at a time."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._close = library.pairmill_jpeg_close
        self.place = library.pairmill_jpeg_open()
        if not self.place:
            raise MemoryError

    def __del__(self) -> None:
        self._close(self.place)


_IDLE: deque[_Workspace] = deque(maxlen=64)


def _file() -> Path | None:
    return next(iter(sorted(Path(__file__).parent.glob("_native*.so"))), None)


@functools.cache
def _library() -> ctypes.CDLL:
    file = _file()
    if file is None:
        raise StageError(
            f"{Path(__file__).parent}: the JPEG decoder is not compiled. Install a C compiler and pairmill again "
            '(`make setup`), or set image.decoder = "library".'
        )
    library = ctypes.CDLL(str(file))
    pointer, whole, size = ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t
    library.pairmill_jpeg_open.restype = pointer
    library.pairmill_jpeg_close.argtypes = [pointer]
    library.pairmill_jpeg_check.argtypes = [pointer, ctypes.c_char_p, size]
    library.pairmill_jpeg_shrink.argtypes = [pointer, ctypes.c_char_p, size, whole, whole, whole, *[pointer] * 4]
    library.pairmill_jpeg_squares.argtypes = [pointer, pointer, whole, whole, pointer]
    library.pairmill_jpeg_begin(1)
    return library
