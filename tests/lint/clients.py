#!/usr/bin/env python3
# SPDX-FileCopyrightText: the pockd authors
# SPDX-License-Identifier: Apache-2.0
"""Check what belongs to pockctl and libpock but is no C.

Each command and option is in the completions and in pockctl(1); shells and
man accept what was built; the clients ask for no method, send no parameter
and read no key that the protocol does not have.
"""
import pathlib
import re
import shutil
import subprocess
import sys

root, build = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
bad = 0


def complain(text):
    global bad
    print(text)
    bad = 1


def first_strings(name, column):
    text = (root / name).read_text()
    return [m[column] for m in re.findall(
        r'^[A-Z]+\((\w+),\s*"?([^",]*)"?,\s*"?([^",]*)"?', text, re.M)]


def run(*command):
    r = subprocess.run(command, capture_output=True, text=True)
    out = '\n'.join(line for line in (r.stdout + r.stderr).splitlines()
                    if 'referenced manual not found' not in line and 'makewhatis' not in line)
    return r.returncode, out.strip()


commands = first_strings('clients/pockctl/commands.def', 1)
flags = first_strings('clients/pockctl/flags.def', 1)
pages = [build / 'clients/man' / p for p in ('pockctl.1', 'pockd.8', 'pockd.conf.5', 'pock-rpc.7', 'pock-agent.1', 'pock-worker.8')]
shells = {'bash': build / 'clients/completions/pockctl',
          'zsh': build / 'clients/completions/_pockctl',
          'fish': build / 'clients/completions/pockctl.fish'}
assert len(commands) > 30 and len(flags) > 20

page = pages[0].read_text()
for c in commands:
    if f'.It Ic {c}' not in page:
        complain(f'pockctl(1) lacks the command {c}')
for shell, path in shells.items():
    text = path.read_text()
    for word in {w for c in commands for w in c.split()}:
        if not re.search(rf'\b{word}\b', text):
            complain(f'the {shell} completion lacks the command word {word}')
    for f in flags:
        form = rf'-l {f}\b' if shell == 'fish' else rf'--{f}\b'
        if not re.search(form, text):
            complain(f'the {shell} completion lacks --{f}')
        if f'Fl \\-{f}' not in page:
            complain(f'pockctl(1) lacks --{f}')
    if shutil.which(shell):
        status, out = run(shell, '-n', str(path))
        if status != 0 or out:
            complain(f'{shell} does not take its completion: {out}')
    else:
        print(f'{shell} is missing: its completion was not read by it')

for path in pages:
    if shutil.which('mandoc'):
        status, out = run('mandoc', '-Tlint', '-W', 'warning', str(path))
        out = '\n'.join(line for line in out.splitlines()
                        if 'sections out of conventional order' not in line)
        if out:
            complain(out)
    if shutil.which('man'):
        status, out = run('man', '--warnings', '-E', 'UTF-8', '-l', '-Tutf8', str(path))
        warnings = [line for line in out.splitlines() if 'warning' in line or 'error:' in line]
        if status != 0 or any('.so' not in w and str(path) in w for w in warnings):
            complain(f'{path.name}: {warnings}')

# The example of pock-rpc(7) compiles.
example = pages[3].read_text().split('.Bd -literal -offset indent\n')[1].split('.Ed')[0]
r = subprocess.run(['cc', '-std=c99', '-pedantic', '-Wall', '-Werror', '-fsyntax-only', '-x', 'c', '-',
                    f'-I{root}/clients/libpock/include'], input=example.replace('\\e', '\\'),
                   capture_output=True, text=True)
if r.returncode != 0:
    complain(f'the example of pock-rpc(7) does not compile: {r.stderr}')

methods_text = (root / 'ipc/methods.def').read_text()
structs_text = (root / 'ipc/structs.def').read_text()
methods = set(re.findall(r'^METHOD\(\w+,\s*"([^"]+)"', methods_text, re.M))
keys = set(re.findall(r'^(?:PARAM|RESULT|FIELD)\(\w+,\s*(\w+),', methods_text + structs_text, re.M))
# What the protocol's text says beside the tables: errors, items, limits, scores' pairs.
keys |= set('id seq kind text done total what event status job point stream fd timeout_ms code name msg '
            'data retry_ms index gates frame_bytes in_flight limits adapter version created '
            'heldout_before heldout_after prompt completion'.split())
used = set()
for f in sorted(root.glob('clients/**/*.[ch]')):
    text = f.read_text()
    for m in re.finditer(r'(?:ctl_request|ctl_ask|pock_request_create|pock_call_plain|pock_call_int|create|change'
                         r'|filtered_request)\((?:[^()"]|\([^()]*\))*?"([a-z_.]+)"', text):
        if '.' in m[1] or m[1] in methods:
            used.add(m[1])
            if m[1] not in methods:
                complain(f'{f.relative_to(root)}: there is no method {m[1]}')
    for m in re.finditer(r'pock_(?:get|get_str|get_int|get_float|get_bool)\((?:[^()"]|\([^()]*\)|\((?:[^()]|\([^()]*\))*\))*?'
                         r'"(\w+)"', text):
        if m[1] not in keys:
            complain(f'{f.relative_to(root)}: no answer has a key {m[1]}')
# data.put is data.put_many of one record.
missing = methods - used - {'hello', 'data.put'}
if missing:
    complain(f'no client knows the methods {sorted(missing)}')
sys.exit(bad)
