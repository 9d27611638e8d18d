#!/usr/bin/env python3
# SPDX-FileCopyrightText: the pockd authors
# SPDX-License-Identifier: Apache-2.0
"""Rows of name and hash of unit files, for `pockctl doctor`.

usage: units.py FILE...
"""
import hashlib
import pathlib
import sys

for path in sorted(map(pathlib.Path, sys.argv[1:])):
    print(f'{{"{path.name}", "{hashlib.sha256(path.read_bytes()).hexdigest()}"}},')
