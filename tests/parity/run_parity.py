#!/usr/bin/env python3
# SPDX-FileCopyrightText: the pockd authors
# SPDX-License-Identifier: Apache-2.0
"""Run parity_lora on values that PyTorch wrote, kept beside the project.

usage: run_parity.py PARITY_LORA SHARED_DIR

The model is converted to an F32 GGUF in a temporary directory. Exit status 77,
which means skipped, when the values or NumPy are not there.
"""
import pathlib
import shutil
import subprocess
import sys
import tempfile

SKIP = 77


def python_with_numpy():
    # The python3 of the PATH may be another one than the system's, which has
    # the packages.
    for name in (sys.executable, '/usr/bin/python3', shutil.which('python3')):
        if name and subprocess.run([name, '-c', 'import numpy'], check=False,
                                   stderr=subprocess.DEVNULL).returncode == 0:
            return name
    return None


def main():
    binary, shared = sys.argv[1], pathlib.Path(sys.argv[2])
    convert = shared / 'tools/hf_to_gguf.py'
    model = shared / 'models/pock-16m'
    reference = shared / 'reference/pock-16m/lora_r8_b2_t64.safetensors'
    for path in (convert, model, reference):
        if not path.exists():
            print(f'1..0 # SKIP {path} is not there')
            return SKIP
    python = python_with_numpy()
    if not python:
        print('1..0 # SKIP no python3 with NumPy')
        return SKIP
    with tempfile.TemporaryDirectory() as tmp:
        gguf = f'{tmp}/f32.gguf'
        subprocess.run([python, convert, model, gguf, 'f32', 'pock-16m'],
                       check=True, stdout=subprocess.DEVNULL)
        run = subprocess.run([binary, gguf, reference], check=False,
                             stdout=subprocess.PIPE, text=True)
        print(run.stdout, end='')
        return SKIP if run.stdout.startswith('1..0 # SKIP') else run.returncode


sys.exit(main())
