#!/usr/bin/env python3
# SPDX-FileCopyrightText: the pockd authors
# SPDX-License-Identifier: Apache-2.0
"""Write the tables of PROTOCOL.md from the .def files beside it.

usage: protocol_tables.py [--check]
With --check nothing is written; exit 1 when PROTOCOL.md is not up to date.
"""
import json
import pathlib
import re
import sys

HERE = pathlib.Path(__file__).parent
TYPES = {'BOOL', 'INT', 'FLOAT', 'STR', 'BIN', 'LIST', 'MAP', 'ANY'}


def rows(name):
    """(macro, [arguments]) of each row; strings lose their quotes."""
    text = re.sub(r',\n {8}"', ', "', (HERE / name).read_text())
    for line in text.splitlines():
        m = re.match(r'([A-Z_]+)\((.*)\)\s*$', line)
        if not m or line.startswith('#'):
            continue
        args = re.findall(r'\s*("(?:[^"\\]|\\.)*"|[^,"]+)\s*(?:,|$)', m[2])
        yield m[1], [re.sub(r'\\(.)', r'\1', a.strip()[1:-1])
                     if a.strip().startswith('"')
                     else a.strip() for a in args]


def cell(text):
    return text.replace('|', '\\|') if text else ' '


def kind(type_, of):
    """How a type is written: list of record, int (ms)."""
    assert type_ in TYPES, type_
    t = type_.lower()
    if not of:
        return t
    return f'{t} of {of}' if type_ in ('LIST', 'MAP') else f'{t} ({of})'


def bounds(type_, low, high):
    if low == high == '0':
        return ''
    unit = {'STR': ' bytes', 'BIN': ' bytes', 'LIST': ' entries',
            'MAP': ' entries'}.get(type_, '')
    high = {'INT64_MAX': '2^63-1', 'INT32_MAX': '2^31-1'}.get(high, high)
    return f'{low}{unit}' if low == high else f'{low}..{high}{unit}'


def field_table(fields):
    out = ['| key | type | | meaning |', '|---|---|---|---|']
    for key, type_, need, of, doc in fields:
        opt = '' if need == 'REQ' else 'optional'
        out.append(f'| `{key}` | {kind(type_, of)} | {opt} | {cell(doc)} |')
    return out


def method_sections():
    out = []
    tail = None  # what is open: params or results

    def open_table(which):
        nonlocal tail
        if tail == which:
            return
        if which == 'params':
            out.extend(['', '| parameter | type | bounds | | meaning |',
                        '|---|---|---|---|---|'])
        else:
            out.extend(['', '| result | type | | meaning |',
                        '|---|---|---|---|'])
        tail = which

    for macro, a in rows('methods.def'):
        if macro == 'METHOD':
            _, name, scope, flags, since, doc = a
            flags = [f.strip()[7:].lower().replace('_', '-')
                     for f in flags.split('|') if f.strip() != '0']
            note = ', '.join([scope.lower()] + flags + [f'since {since}'])
            out.extend(['', f'### {name}', '', f'{doc}. ({note})'])
            tail = None
        elif macro == 'ERRORS':
            out.extend(['', 'Errors: ' + ', '.join(a[1].split()) + '.'])
        elif macro == 'EXAMPLE':
            out.extend(['', '```', f'-> {a[1]}', f'<- {a[2]}', '```'])
            tail = None
        elif macro == 'PARAM':
            _, key, type_, need, low, high, of, doc = a
            open_table('params')
            opt = '' if need == 'REQ' else 'optional'
            out.append(f'| `{key}` | {kind(type_, of)} | '
                       f'{bounds(type_, low, high)} | {opt} | {cell(doc)} |')
        elif macro == 'RESULT':
            open_table('results')
            out.append(field_table([a[1:]])[-1])
    return out


def struct_sections():
    out = []
    for macro, a in rows('structs.def'):
        if macro == 'STRUCT':
            out.extend(['', f'### {a[0]}', '', a[2][0].upper() + a[2][1:] + '.', ''])
            out.extend(field_table([]))
        elif macro == 'FIELD':
            out.append(field_table([a[1:]])[-1])
    return out


def error_table():
    out = ['| name | code | exit of pockctl | meaning |', '|---|---|---|---|']
    out += [f'| {n} | {c} | {x} | {cell(d)} |'
            for _, (n, c, x, d) in rows('errors.def')]
    return out


def reason_table():
    out = ['| name | what happened |', '|---|---|']
    out += [f'| {n} | {d} |' for _, (n, d) in rows('stop_reasons.def')]
    return out


def class_table():
    out = ['| class | in its place | what |', '|---|---|---|']
    out += [f'| {n} | `{t}` | {d} |' for _, (_, n, t, d) in rows('redact.def')]
    return out


def check_examples():
    """Examples are JSON, and their keys are in the tables."""
    params, results, bad = {}, {}, 0
    for macro, a in rows('methods.def'):
        if macro == 'PARAM':
            params.setdefault(a[0], {})[a[1]] = a[3]
        elif macro == 'RESULT':
            results.setdefault(a[0], {})[a[1]] = a[3]
        elif macro == 'EXAMPLE':
            for text, table, extra in ((a[1], params, {'stream', 'fd'}),
                                       (a[2], results, set())):
                known = table.get(a[0], {})
                keys = set(json.loads(text.replace('...', ' ')))
                lost = {k for k, need in known.items() if need == 'REQ'}
                if keys - set(known) - extra or \
                        (lost - keys and '...' not in text):
                    print(f'methods.def: example of {a[0]}: {text}')
                    bad = 1
    return bad


def main():
    path = HERE / 'PROTOCOL.md'
    old = path.read_text()
    new = old
    for name, lines in (('methods', method_sections()),
                        ('structs', struct_sections()),
                        ('errors', error_table()),
                        ('redaction', class_table()),
                        ('stop reasons', reason_table())):
        body = '\n'.join(lines).strip('\n')
        new, n = re.subn(
            rf'(<!-- {name}: begin -->\n).*?(<!-- {name}: end -->)',
            lambda m: f'{m[1]}{body}\n{m[2]}', new, flags=re.S)
        assert n == 1, name
    bad = check_examples()
    if '--check' not in sys.argv:
        path.write_text(new)
    elif new != old:
        print('PROTOCOL.md is not what ipc/protocol_tables.py makes of the '
              '.def files: run it')
        bad = 1
    return bad


sys.exit(main())
