#!/usr/bin/env python3
# SPDX-FileCopyrightText: the pockd authors
# SPDX-License-Identifier: Apache-2.0
"""Validate the SPIR-V that a build embeds, read back from its C headers.

usage: spirv.py SPIRV-VAL [TARGET-ENV HEADER]...

A spirv-val that is older than the compiler of a shader may not know its
capabilities; such a shader is skipped, by name.
"""
import pathlib
import re
import struct
import subprocess
import sys

UNKNOWN = ('Invalid capability operand', 'Invalid SPIR-V version', 'Invalid opcode')


def main():
    tool, pairs = sys.argv[1], list(zip(sys.argv[2::2], sys.argv[3::2]))
    print(f'1..{len(pairs)}')
    bad = 0
    for n, (env, header) in enumerate(pairs, 1):
        name = pathlib.Path(header).name.removesuffix('.spv.h')
        words = re.findall(r'0x[0-9a-fA-F]{8}\b', pathlib.Path(header).read_text())
        code = struct.pack(f'={len(words)}I', *(int(w, 16) for w in words))
        run = subprocess.run([tool, '--target-env', env, '-'], input=code, capture_output=True)
        said = (run.stdout + run.stderr).decode(errors='replace').strip()
        if run.returncode and any(u in said for u in UNKNOWN):
            print(f'ok {n} {name} # SKIP this spirv-val is too old: {said.splitlines()[-1]}')
        elif run.returncode or len(words) < 5:
            print(f'not ok {n} {name}')
            print(f'# {said or "no words in the header"}'.replace('\n', '\n# '))
            bad = 1
        else:
            print(f'ok {n} {name}')
    return bad


sys.exit(main())
