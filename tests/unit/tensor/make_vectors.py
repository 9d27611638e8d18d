#!/usr/bin/env python3
# SPDX-FileCopyrightText: the pockd authors
# SPDX-License-Identifier: Apache-2.0

"""Writes vectors.bin: blocks of every type, and what llama.cpp decodes them to.

usage: make_vectors.py FILE      needs libggml-base.so of llama.cpp

For each type: its name in 8 bytes, the sizes of both parts as two numbers of 32
bits (bytes, values), the blocks, the values as f32; all little-endian.
"""

import ctypes
import random
import struct
import sys

# name: (id, name of the decoder, values and bytes a block, where its f16 are)
TYPES = {
    'q8_0': (8, 'q8_0', 32, 34, [0]),
    'q4_0': (2, 'q4_0', 32, 18, [0]),
    'q4_1': (3, 'q4_1', 32, 20, [0, 2]),
    'q5_0': (6, 'q5_0', 32, 22, [0]),
    'q5_1': (7, 'q5_1', 32, 24, [0, 2]),
    'iq4_nl': (20, 'iq4_nl', 32, 18, [0]),
    'q2_k': (10, 'q2_K', 256, 84, [80, 82]),
    'q3_k': (11, 'q3_K', 256, 110, [108]),
    'q4_k': (12, 'q4_K', 256, 144, [0, 2]),
    'q5_k': (13, 'q5_K', 256, 176, [0, 2]),
    'q6_k': (14, 'q6_K', 256, 210, [208]),
}


class InitParams(ctypes.Structure):
    _fields_ = [('bytes', ctypes.c_size_t), ('memory', ctypes.c_void_p), ('no_alloc', ctypes.c_bool)]


def load():
    lib = ctypes.CDLL('libggml-base.so.0')
    lib.ggml_init.argtypes = [InitParams]
    lib.ggml_init.restype = ctypes.c_void_p
    lib.ggml_init(InitParams(1 << 20, None, False))  # fills its tables
    lib.ggml_quantize_chunk.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64,
                                        ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p]
    return lib


def encode(lib, kind, values):
    out = ctypes.create_string_buffer(TYPES[kind][3])
    x = (ctypes.c_float * len(values))(*values)
    lib.ggml_quantize_chunk(TYPES[kind][0], x, out, 0, 1, len(values), None)
    return out.raw


def decode(lib, kind, blocks, n):
    out = (ctypes.c_float * n)()
    fn = getattr(lib, 'dequantize_row_' + TYPES[kind][1])
    fn.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
    fn(ctypes.create_string_buffer(blocks, len(blocks)), out, n)
    return bytes(out)


def with_scales(kind, block, scale):
    block = bytearray(block)
    for at in TYPES[kind][4]:
        block[at:at + 2] = struct.pack('<e', scale())
    return bytes(block)


def blocks_of(lib, rng, kind):
    _, _, n, size, _ = TYPES[kind]
    yield encode(lib, kind, [rng.gauss(0, 0.1) for _ in range(n)])  # as a model has them
    yield encode(lib, kind, [rng.gauss(0.5, 1) * rng.gauss(0, 1) ** 2 for _ in range(n)])  # a few large
    for _ in range(2):  # every bit in use
        yield with_scales(kind, rng.randbytes(size), lambda: rng.uniform(-1, 1))
    yield with_scales(kind, b'\xff' * size, lambda: 65504)  # the largest scales
    yield with_scales(kind, rng.randbytes(size), lambda: 2.0 ** -24)  # the smallest


def main():
    lib = load()
    rng = random.Random(20260301)
    with open(sys.argv[1], 'wb') as f:
        for kind, row in TYPES.items():
            blocks = list(blocks_of(lib, rng, kind))
            n = len(blocks) * row[2]
            data = b''.join(blocks)
            f.write(kind.encode().ljust(8, b'\0') + struct.pack('<II', len(data), n))
            f.write(data + decode(lib, kind, data, n))


main()
