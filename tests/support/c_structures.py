"""The structures of helip.h for ctypes, as Go, Rust or Java would write them down."""

from __future__ import annotations

import ctypes as c

import numpy as np

OK, INVALID, CORRUPT, MISMATCH, IO, CANCELLED, UNSUPPORTED, NO_MEMORY, INTERNAL = range(9)
FLOAT64, FLOAT32 = 0, 1
EXACT = 1
Progress = c.CFUNCTYPE(c.c_int32, c.c_void_p, c.c_char_p, c.c_int64, c.c_int64)
IdFilter = c.CFUNCTYPE(c.c_int32, c.c_void_p, c.c_int64)


class Matrix(c.Structure):
    _fields_ = [
        ("data", c.c_void_p), ("rows", c.c_int64), ("cols", c.c_int64), ("row_stride", c.c_int64),
        ("scale", c.c_void_p), ("deleted", c.c_void_p), ("dtype", c.c_int32),
        ("reserved", c.c_int32),
    ]  # fmt: skip

    @classmethod
    def of(cls, array: np.ndarray) -> Matrix:
        dtype = {"float64": FLOAT64, "float32": FLOAT32}[array.dtype.name]
        return cls(array.ctypes.data, *array.shape, array.strides[0], None, None, dtype, 0)


class Control(c.Structure):
    _fields_ = [
        ("struct_size", c.c_size_t), ("progress", Progress), ("user", c.c_void_p),
        ("cancel", c.c_void_p),
    ]  # fmt: skip


class StoreInfo(c.Structure):
    _fields_ = [
        ("struct_size", c.c_size_t), ("rows", c.c_int64), ("image_dim", c.c_int64),
        ("text_dim", c.c_int64), ("generation", c.c_int64), ("deleted_rows", c.c_int64),
        ("dtype", c.c_int32), ("reserved", c.c_int32),
    ]  # fmt: skip


class StoreOptions(c.Structure):
    _fields_ = [
        ("struct_size", c.c_size_t), ("image_dim", c.c_int64), ("text_dim", c.c_int64),
        ("shard_rows", c.c_int64), ("dtype", c.c_int32), ("digests", c.c_int32),
    ]  # fmt: skip


class PairsInfo(c.Structure):
    _fields_ = [("struct_size", c.c_size_t), ("targets", c.c_int64), ("k", c.c_int64)]


class MineOptions(c.Structure):
    _fields_ = [
        ("struct_size", c.c_size_t), ("k", c.c_int64), ("method", c.c_int32),
        ("modality", c.c_int32), ("image_max", c.c_double), ("text_max", c.c_double),
        ("min_score", c.c_double), ("signed_products", c.c_int32), ("use_margin", c.c_int32),
        ("margin", c.c_double), ("skip", c.c_int64), ("collapse", c.c_int32),
        ("threads", c.c_int32), ("candidates", c.c_int64), ("refresh", c.c_int64),
        ("seed", c.c_uint64), ("recall", c.c_double), ("memory", c.c_int64), ("parts", c.c_int64),
        ("checkpoint", c.c_double), ("codes", c.c_char_p),
        ("keep_codes", c.c_int32), ("reserved", c.c_int32),
    ]  # fmt: skip


class UpdateOptions(c.Structure):
    _fields_ = [
        ("struct_size", c.c_size_t), ("memory", c.c_int64), ("codes", c.c_char_p),
        ("threads", c.c_int32), ("keep_codes", c.c_int32),
    ]  # fmt: skip


class MinePlan(c.Structure):
    _fields_ = [
        ("struct_size", c.c_size_t), ("seconds", c.c_double), ("memory_bytes", c.c_int64),
        ("disk_bytes", c.c_int64), ("pairs", c.c_int64), ("scratch_bytes", c.c_int64),
        ("method", c.c_int32), ("reserved", c.c_int32),
    ]  # fmt: skip


class IndexOptions(c.Structure):
    _fields_ = [
        ("struct_size", c.c_size_t), ("image_max", c.c_double), ("text_max", c.c_double),
        ("degree", c.c_int64), ("breadth", c.c_int64), ("seed", c.c_uint64),
    ]  # fmt: skip


class IndexInfo(c.Structure):
    _fields_ = [
        ("struct_size", c.c_size_t), ("pairs", c.c_int64), ("image_dim", c.c_int64),
        ("text_dim", c.c_int64), ("bytes", c.c_int64),
    ]  # fmt: skip


# By their names in the header; a program compares sizes and places with those of the compiler.
STRUCTURES = {
    "helip_matrix": Matrix, "helip_control": Control, "helip_store_info": StoreInfo,
    "helip_store_options": StoreOptions, "helip_pairs_info": PairsInfo,
    "helip_mine_options": MineOptions, "helip_mine_plan": MinePlan,
    "helip_index_options": IndexOptions, "helip_index_info": IndexInfo,
}  # fmt: skip
