#!/usr/bin/env python3
# SPDX-FileCopyrightText: the pockd authors
# SPDX-License-Identifier: Apache-2.0
"""Fill the tables of a manual page from the .def files.

usage: pages.py SOURCE_ROOT VERSION PAGE.in > PAGE

A line `.\\" @NAME` becomes the table NAME, `@VERSION@` the version. What a
table says is said in one place only, and the page cannot be out of date.
"""
import pathlib
import re
import sys
import textwrap

root = pathlib.Path(sys.argv[1])


def rows(path):
    """(macro, [arguments]) of each row of a .def file; C strings are joined."""
    text = '\n'.join(line for line in (root / path).read_text().splitlines()
                     if not re.match(r'\s*(//|\*|/\*|#)', line))
    for m in re.finditer(r'^([A-Z_]+)\((.*)\)\s*$', text, re.M):
        args = re.findall(r'\s*("(?:[^"\\]|\\.)*"|[^,"]+)\s*(?:,|$)', m[2])
        yield m[1], [re.sub(r'\\(.)', r'\1', a.strip()[1:-1]) if a.strip().startswith('"')
                     else a.strip() for a in args]


def esc(text):
    """Text for lines of its own: a sentence begins a line, no line is long."""
    lines = []
    for part in re.split(r'(?<=\.) +(?=[A-Z])', text.replace('\\', '\\e')):
        lines += textwrap.wrap(part, 78, break_long_words=False, break_on_hyphens=False)
    return '\n'.join('\\&' + t if t[:1] in ("'", '.') else t for t in lines)


def upper(text):
    """A capital in front, unless the first word is a name such as retry_ms."""
    return text if re.match(r'\w*[_.$]', text) else text[0].upper() + text[1:]


def sentence(text):
    return esc(text if text.endswith(('.', '?')) else text + '.')


def commands():
    flags = {a[0]: a for _, a in rows('clients/pockctl/flags.def')}
    for _, (_, words, args, _, _, allowed, text) in rows('clients/pockctl/commands.def'):
        yield '.It Ic ' + words + (f' Ar {esc(args)}' if args else '')
        yield sentence(upper(text))
        names = [flags[f] for f in re.findall(r'F\((\w+)\)', allowed)]
        if names:
            yield 'Options:'
            for i, f in enumerate(names):
                yield (f'.Fl \\-{f[1]}' + (f' Ar {f[3]}' if f[3] != 'NULL' else '')
                       + (' ,' if i + 1 < len(names) else ' .'))


def flags_of(scope):
    for _, (_, name, letter, arg, which, text) in rows('clients/pockctl/flags.def'):
        if which != scope:
            continue
        short = f'Fl {letter[1]} , ' if letter != '0' else ''
        yield f'.It {short}Fl \\-{name}' + (f' Ar {arg}' if arg != 'NULL' else '')
        yield sentence(upper(text))


def errors():
    for _, (name, code, status, text) in rows('ipc/errors.def'):
        yield f'.It Dv {name} Pq {code}'
        yield sentence(upper(text))


def errors_by_exit():
    found = {}
    for _, (name, _, status, _) in rows('ipc/errors.def'):
        found.setdefault(int(status), []).append(name)
    for status in sorted(found):
        yield f'.It {status}'
        yield esc(', '.join(found[status]))


def stop_reasons():
    for _, (name, text) in rows('ipc/stop_reasons.def'):
        yield f'.It Dv {name}'
        yield sentence(upper(text))


def options():
    for _, (field, _, env, default, _, _, text) in rows('daemon/options.def'):
        yield f'.It Cm {field}'
        yield sentence(text)
        yield 'On the command line:'
        yield f'.Fl \\-{field.replace("_", "-")} .'
        if env != 'NULL':
            yield 'In the environment:'
            yield f'.Ev {env} .'
        if default:
            yield 'Default:'
            yield f'.Li {default} .'


def policy():
    for _, (field, kind, default, low, high, text) in rows('daemon/policy.def'):
        yield f'.It Cm {field}'
        yield sentence(text)
        if kind == 'BOOL':
            yield f'Default: {"yes" if default == "1" else "no"}.'
        elif kind == 'TEXT':
            yield f'At most {high} characters; default: nothing.'
        else:
            yield f'From {low} to {high}; default: {default}.'


def redaction():
    for _, (_, name, tag, text) in rows('ipc/redact.def'):
        yield f'.It Cm {name} Pq Ql {tag}'
        yield sentence(upper(text))


def gates():
    for macro, a in rows('daemon/conditions.def'):
        yield f'.It Cm {a[1].lower() if a[0].isupper() else a[0]}'
        yield sentence(upper(a[-1]))


def signals():
    for _, (name, _, _, unit, text) in rows('daemon/signals.def'):
        yield f'.It Cm {name}'
        yield sentence(upper(text) + (f', in {unit}' if unit else ''))


def kind(type_, of):
    type_ = type_.lower()
    if not of:
        return type_
    return f'{type_} of {of}' if type_ in ('list', 'map') else f'{type_}, {of}'


def fields(list_):
    yield '.Bl -tag -width Ds -compact'
    for key, type_, need, of, text in list_:
        yield f'.It Cm {key}'
        optional = '' if need == 'REQ' else '; optional'
        yield esc(f'({kind(type_, of)}{optional}) {text}')
    yield '.El'


def methods():
    parts = []
    for macro, a in rows('ipc/methods.def'):
        if macro == 'METHOD':
            parts.append((a, [], []))
        elif macro == 'PARAM':
            parts[-1][1].append((a[1], a[2], a[3], a[6], a[7]))
        elif macro == 'RESULT':
            parts[-1][2].append((a[1], a[2], a[3], a[4], a[5]))
    for (_, name, scope, flags, _, text), params, results in parts:
        yield f'.Ss {name}'
        yield sentence(text)
        notes = [f[7:].lower().replace('_', ' ') for f in re.findall(r'METHOD_\w+', flags)]
        yield esc(f'For {"every client" if scope == "APP" else "the owner"}'
                  + (f'; {", ".join(notes)}' if notes else '') + '.')
        for title, list_ in (('Parameters:', params), ('Answer:', results)):
            if list_:
                yield '.Pp'
                yield title
                yield from fields(list_)


def structs():
    parts = []
    for macro, a in rows('ipc/structs.def'):
        if macro == 'STRUCT':
            parts.append((a, []))
        elif macro == 'FIELD':
            parts[-1][1].append((a[1], a[2], a[3], a[4], a[5]))
    for (name, *_, text), list_ in parts:
        yield f'.Ss {name}'
        yield sentence(upper(text))
        yield from fields(list_)


TABLES = {
    'commands': commands, 'global-flags': lambda: flags_of('FLAG_GLOBAL'),
    'command-flags': lambda: flags_of('FLAG_COMMAND'), 'errors': errors,
    'errors-by-exit': errors_by_exit, 'stop-reasons': stop_reasons, 'options': options,
    'policy': policy, 'redaction': redaction, 'gates': gates, 'signals': signals, 'methods': methods, 'structs': structs,
}

for line in pathlib.Path(sys.argv[3]).read_text().splitlines():
    m = re.match(r'\.\\" @([a-z-]+)$', line)
    if m:
        print('\n'.join(TABLES[m[1]]()))
    else:
        print(line.replace('@VERSION@', sys.argv[2]))
