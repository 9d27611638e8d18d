#!/usr/bin/env python3
# SPDX-FileCopyrightText: the pockd authors
# SPDX-License-Identifier: Apache-2.0
"""Write pockctl's completion for a shell from commands.def and flags.def.

usage: completions.py SOURCE_ROOT bash|zsh|fish > FILE
"""
import pathlib
import re
import sys

root = pathlib.Path(sys.argv[1]) / 'clients/pockctl'


def rows(name):
    text = '\n'.join(line for line in (root / name).read_text().splitlines()
                     if not re.match(r'\s*(//|\*|/\*)', line))
    for m in re.finditer(r'^[A-Z]+\((.*)\)\s*$', text, re.M):
        args = re.findall(r'\s*("(?:[^"\\]|\\.)*"|[^,"]+)\s*(?:,|$)', m[1])
        yield [re.sub(r'\\(.)', r'\1', a.strip()[1:-1]) if a.strip().startswith('"')
               else a.strip() for a in args]


class Flag:
    def __init__(self, id_, name, letter, arg, scope, text):
        self.id, self.name, self.help = id_, name, text
        self.letter = letter[1] if letter != '0' else ''
        self.arg = '' if arg == 'NULL' else arg
        self.is_global = scope == 'FLAG_GLOBAL'


class Command:
    def __init__(self, _, words, args, least, most, flags, text):
        self.words, self.args, self.help = words.split(), args, text
        self.flags = [f for f in FLAGS if f.id in re.findall(r'F\((\w+)\)', flags)]


FLAGS = [Flag(*r) for r in rows('flags.def')]
GLOBAL = [f for f in FLAGS if f.is_global]
COMMANDS = [Command(*r) for r in rows('commands.def')]
FIRST = list(dict.fromkeys(c.words[0] for c in COMMANDS))

# What an argument may be: a command that lists it, or words, or files.
LISTS = {
    'MODEL': 'pockctl model list -q',
    'SCHEME': 'pockctl scheme list -q',
    'ADAPTER': 'pockctl adapter list -q',
    'RECORD': 'pockctl data list -q --limit 50',
    'JOB': 'pockctl train status -q',
    'KEY': 'pockctl policy get -q',
    'APP': 'pockctl apps -q',
    'STREAM': "pockctl data count --no-header | sed -n '/^in all /d; s/ .*//p'",
}
CHATS = re.findall(r'\.name = "([^"]+)"', (root / '../../engine/tokenizer/chat_format.c').read_text())
WORDS = {'WHEN': 'auto always never', 'FORMAT': 'jsonl txt md gguf peft merged lora-svd',
         'TOPIC': ' '.join(FIRST), 'SINCE': 'today yesterday 7d', 'TIME': 'today yesterday 7d',
         'TYPE': 'q8_0 q4_0 q4_k f16 bf16 f32 keep', 'WHO': 'assistant user all',
         'CHAT': ' '.join(CHATS + ['none', 'auto'])}
FILES = {'FILE', 'PATH', 'COMMAND'}


def source(flag_or_arg):
    """('list', command), ('words', words), ('files', '') or ('none', '')."""
    key = flag_or_arg
    if isinstance(key, Flag):
        key = {'stream': 'STREAM', 'chat-format': 'CHAT'}.get(key.name, key.arg)
    m = re.search(r'[A-Z]+', key)
    key = m[0] if m else ''
    if key in LISTS:
        return 'list', LISTS[key]
    if key in WORDS:
        return 'words', WORDS[key]
    return ('files', '') if key in FILES else ('none', '')


def names(flags):
    out = [f'--{f.name}' for f in flags]
    return out + [f'-{f.letter}' for f in flags if f.letter]


def bash_reply(kind, what):
    if kind == 'list':
        return f'COMPREPLY=($(compgen -W "$({what} 2>/dev/null)" -- "$cur"))'
    if kind == 'words':
        return f'COMPREPLY=($(compgen -W "{what}" -- "$cur"))'
    return 'compopt -o default; COMPREPLY=()' if kind == 'files' else 'COMPREPLY=()'


def bash():
    value = '|'.join(n for f in FLAGS if f.arg for n in names([f]))
    print('# bash completion of pockctl: written by completions.py')
    print('_pockctl() {')
    print('    local cur prev command i\n    cur=${COMP_WORDS[COMP_CWORD]}')
    print('    prev=${COMP_WORDS[COMP_CWORD-1]}\n    command=')
    print('    for ((i = 1; i < COMP_CWORD; i++)); do')
    print('        case ${COMP_WORDS[i]} in')
    print(f'        {value}) ((i++)) ;;')
    print('        -*) ;;')
    print('        *) command="$command${command:+ }${COMP_WORDS[i]}" ;;')
    print('        esac\n    done')
    print('    case $prev in')
    for f in FLAGS:
        if f.arg:
            print(f'    {"|".join(names([f]))}) {bash_reply(*source(f))}; return ;;')
    print('    esac')
    print('    if [[ $cur == -* ]]; then\n        case $command in')
    for c in COMMANDS:
        flags = ' '.join(names(c.flags + GLOBAL))
        print(f'        "{" ".join(c.words)}"*) COMPREPLY=($(compgen -W "{flags}" -- "$cur")) ;;')
    print(f'        *) COMPREPLY=($(compgen -W "{" ".join(names(GLOBAL))}" -- "$cur")) ;;')
    print('        esac\n        return\n    fi\n    case $command in')
    print(f'    "") COMPREPLY=($(compgen -W "{" ".join(FIRST)}" -- "$cur")) ;;')
    for first in FIRST:
        second = [c.words[1] for c in COMMANDS if c.words[0] == first and len(c.words) > 1]
        if second:
            print(f'    "{first}") COMPREPLY=($(compgen -W "{" ".join(second)}" -- "$cur")) ;;')
    for c in COMMANDS:
        print(f'    "{" ".join(c.words)}"*) {bash_reply(*source(c.args))} ;;')
    print('    esac\n}\ncomplete -F _pockctl pockctl')


def quote(text):
    return text.replace("'", "'\\''").replace('[', '(').replace(']', ')').replace(':', ' -')


def zsh_action(kind, what, label):
    if kind == 'list':
        return f':{label}:($(' + what.replace("'", "'\\''") + ' 2>/dev/null))'
    if kind == 'words':
        return f':{label}:({what})'
    return f':{label}:_files' if kind == 'files' else f':{label}: '


def zsh_flag(f):
    head = f'({"-" + f.letter + " " if f.letter else ""}--{f.name})' if f.letter else ''
    each = f"{{-{f.letter},--{f.name}}}" if f.letter else f'--{f.name}'
    action = zsh_action(*source(f), f.arg.lower()) if f.arg else ''
    body = f"'[{quote(f.help)}]{action}'"
    return f"'{head}'{each}{body}" if f.letter else f"{each}{body}"


def zsh():
    print('#compdef pockctl\n# zsh completion of pockctl: written by completions.py')
    print('_pockctl() {\n    local -a global\n    global=(')
    for f in GLOBAL:
        print(f'        {zsh_flag(f)}')
    print('    )\n    local -a words_ commands\n    local w skip=0')
    value = '|'.join(n for f in FLAGS if f.arg for n in names([f]))
    print('    for w in "${(@)words[2,CURRENT-1]}"; do')
    print('        if ((skip)); then skip=0; continue; fi')
    print(f'        case $w in\n        {value}) skip=1 ;;\n        -*) ;;')
    print('        *) words_+=("$w") ;;\n        esac\n    done')
    print('    case "${words_[*]}" in')
    for c in COMMANDS:
        print(f'    "{" ".join(c.words)}"*)\n        _arguments -S $global \\')
        for f in c.flags:
            print(f'            {zsh_flag(f)} \\')
        label = re.sub(r'[^a-z]', '', c.args.lower())
        action = zsh_action(*source(c.args), label) if c.args else ': :'
        print(f"            '*{action}'\n        return ;;")
    for first in FIRST:
        second = [c for c in COMMANDS if c.words[0] == first and len(c.words) > 1]
        if not second:
            continue
        print(f'    "{first}")\n        commands=(')
        for c in second:
            print(f"            '{c.words[1]}:{quote(c.help)}'")
        print(f"        )\n        _describe '{first}' commands\n        return ;;")
    print('    esac\n    commands=(')
    for first in FIRST:
        group = [c for c in COMMANDS if c.words[0] == first]
        text = group[0].help if len(group) == 1 else ', '.join(c.words[1] for c in group)
        print(f"        '{first}:{quote(text)}'")
    print("    )\n    if [[ $PREFIX == -* ]]; then\n        _arguments -S $global\n    else")
    print("        _describe 'command' commands\n    fi\n}\n_pockctl \"$@\"")


def fish_source(kind, what):
    if kind == 'list':
        return f"-xa '({what} 2>/dev/null)'".replace("'/^in all /d; s/ .*//p'", '"/^in all /d; s/ .*//p"')
    if kind == 'words':
        return f"-xa '{what}'"
    return '-rF' if kind == 'files' else '-x'


def fish_text(text):
    return text.replace('\\', '\\\\').replace("'", "\\'")


def fish():
    print('# fish completion of pockctl: written by completions.py')
    value = ' '.join(n for f in FLAGS if f.arg for n in names([f]))
    print('function __pockctl_words\n    set -l out\n    set -l skip 0')
    print('    for w in (commandline -opc)[2..-1]\n        if test $skip = 1')
    print('            set skip 0\n            continue\n        end')
    print(f'        if contains -- $w {value}\n            set skip 1\n            continue\n        end')
    print("        string match -q -- '-*' $w; or set -a out $w\n    end\n    echo $out\nend")
    print('function __pockctl_is\n    test (__pockctl_words) = "$argv"\nend')
    print('function __pockctl_in\n    string match -q -- "$argv*" (__pockctl_words)\nend')
    print('complete -c pockctl -f')
    for f in GLOBAL:
        short = f' -s {f.letter}' if f.letter else ''
        arg = ' ' + fish_source(*source(f)) if f.arg else ''
        print(f"complete -c pockctl -l {f.name}{short}{arg} -d '{fish_text(f.help)}'")
    for c in COMMANDS:
        words = ' '.join(c.words)
        before = ' '.join(c.words[:-1])
        print(f"complete -c pockctl -n '__pockctl_is {before}' -a {c.words[-1]} -d '{fish_text(c.help)}'")
        for f in c.flags:
            short = f' -s {f.letter}' if f.letter else ''
            arg = ' ' + fish_source(*source(f)) if f.arg else ''
            print(f"complete -c pockctl -n '__pockctl_in {words}' -l {f.name}{short}{arg} -d '{fish_text(f.help)}'")
        kind, what = source(c.args)
        if kind == 'files':
            print(f"complete -c pockctl -n '__pockctl_in {words}' -F")
        elif kind != 'none':
            print(f"complete -c pockctl -n '__pockctl_in {words}' {fish_source(kind, what)}")
    for first in FIRST:
        if any(c.words[0] == first and len(c.words) > 1 for c in COMMANDS):
            print(f"complete -c pockctl -n '__pockctl_is' -a {first}")


{'bash': bash, 'zsh': zsh, 'fish': fish}[sys.argv[2]]()
