#!/usr/bin/env python3
# SPDX-FileCopyrightText: the pockd authors
# SPDX-License-Identifier: Apache-2.0
"""Chat formats against transformers, which renders templates with jinja.

usage: chat.py theirs [VOCAB.gguf ...] > FILE    where transformers is
       chat.py compare PRINT_CHAT FILE           where VOCAB.gguf are, too

Each template below says what that of a family of models says, in words of our
own. print_chat must recognise it and give the same text; and with a vocabulary of
one of these families, the same ids. chat.sh runs both.
"""
import json
import os
import struct
import subprocess
import sys
import tempfile

LOOP = '{%- for m in messages -%}'
END = '{%- endfor -%}'
TEMPLATES = {
    'chatml': LOOP + "{{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>' + '\\n' -}}" + END +
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}",
    'phi4': LOOP + "{{- '<|im_start|>' + m.role + '<|im_sep|>' + m.content + '<|im_end|>' -}}" + END +
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant<|im_sep|>' -}}{%- endif -%}",
    'phi3': LOOP + "{%- if m.role == 'system' -%}{{- '<|system|>\n' + m.content + '<|end|>\n' -}}"
    "{%- elif m.role == 'user' -%}{{- '<|user|>\n' + m.content + '<|end|>\n' -}}"
    "{%- else -%}{{- '<|assistant|>\n' + m.content + '<|end|>\n' -}}{%- endif -%}" + END +
    "{%- if add_generation_prompt -%}{{- '<|assistant|>\n' -}}{%- endif -%}",
    'pock': LOOP + "{{- '<|' + m.role + '|>' + m.content + '<|end|>' -}}" + END +
    "{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}",
    'llama2': "{%- if messages[0].role == 'system' -%}{%- set rest = messages[1:] -%}"
    "{%- set sys = messages[0].content -%}{%- else -%}{%- set rest = messages -%}{%- set sys = '' -%}{%- endif -%}"
    "{%- for m in rest -%}{%- set c = m.content -%}"
    "{%- if loop.first and sys -%}{%- set c = '<<SYS>>\\n' + sys + '\\n<</SYS>>\\n\\n' + c.strip() -%}{%- endif -%}"
    "{%- if m.role == 'user' -%}{{- bos_token + '[INST] ' + c.strip() + ' [/INST]' -}}"
    "{%- else -%}{{- ' ' + c.strip() + ' ' + eos_token -}}{%- endif -%}" + END,
    'llama3': "{{- bos_token -}}" + LOOP + "{{- '<|start_header_id|>' + m.role + '<|end_header_id|>\\n\\n' + "
    "m.content | trim + '<|eot_id|>' -}}" + END +
    "{%- if add_generation_prompt -%}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' -}}{%- endif -%}",
    'gemma': "{{- bos_token -}}{%- if messages[0].role == 'system' -%}{%- set pre = messages[0].content + '\\n\\n' -%}"
    "{%- set rest = messages[1:] -%}{%- else -%}{%- set pre = '' -%}{%- set rest = messages -%}{%- endif -%}"
    "{%- for m in rest -%}{{- '<start_of_turn>' + ('model' if m.role == 'assistant' else m.role) + '\\n' + "
    "(pre if loop.first else '') + m.content | trim + '<end_of_turn>\\n' -}}" + END +
    "{%- if add_generation_prompt -%}{{- '<start_of_turn>model\\n' -}}{%- endif -%}",
    'mistral': "{{- bos_token -}}" + LOOP + "{%- if m.role == 'user' -%}{{- '[INST] ' + m.content + ' [/INST]' -}}"
    "{%- else -%}{{- m.content + eos_token -}}{%- endif -%}" + END,
    'mistral-v7': "{{- bos_token -}}" + LOOP +
    "{%- if m.role == 'user' -%}{{- '[INST] ' + m.content + '[/INST]' -}}{%- elif m.role == 'system' -%}"
    "{{- '[SYSTEM_PROMPT] ' + m.content + '[/SYSTEM_PROMPT]' -}}"
    "{%- else -%}{{- ' ' + m.content + eos_token -}}{%- endif -%}" + END,
    'zephyr': LOOP + "{% if m.role == 'user' %}{{ '<|user|>\\n' + m.content + eos_token + '\\n' }}"
    "{% elif m.role == 'system' %}{{ '<|system|>\\n' + m.content + eos_token + '\\n' }}"
    "{% else %}{{ '<|assistant|>\\n' + m.content + eos_token + '\\n' }}{% endif %}" + END +
    "{%- if add_generation_prompt -%}{{- '<|assistant|>\\n' -}}{%- endif -%}",
    'tulu': "{{- bos_token -}}" + LOOP + "{% if m.role == 'user' %}{{ '<|user|>\\n' + m.content + '\\n' }}"
    "{% elif m.role == 'system' %}{{ '<|system|>\\n' + m.content + '\\n' }}"
    "{% else %}{{ '<|assistant|>\\n' + m.content + eos_token }}{% if not loop.last %}{{ '\\n' }}{% endif %}"
    "{% endif %}" + END + "{%- if add_generation_prompt -%}{{- '<|assistant|>\\n' -}}{%- endif -%}",
}
NO_SYSTEM = {'mistral'}
U, A, S = 'user', 'assistant', 'system'
CHATS = [
    [(U, 'Are you open?')],
    [(U, 'Are you open?'), (A, 'Nine to one.')],
    [(S, 'Be brief.'), (U, ' two  blanks '), (A, ' Yes\n'), (U, 'Zeidler \u2014 \u00fc\u4f60\U0001f41d'), (A, 'No.')],
    [(U, 'a\n\nb'), (A, 'c'), (U, 'd')],
]


# Whose vocabularies have what these formats need.
VOCABS = {'llama-spm': ['llama2', 'mistral', 'zephyr', 'tulu'], 'qwen2': ['chatml']}
WORDS = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
         r'|\s*[\r\n]+|\s+(?!\S)|\s+')
CONTROL = 3


def read_metadata(path):
    """Key -> value of a GGUF file."""
    data = open(path, 'rb').read()
    at = 8
    plain = {0: 'B', 1: 'b', 2: 'H', 3: 'h', 4: 'I', 5: 'i', 6: 'f', 7: '?', 10: 'Q', 11: 'q', 12: 'd'}

    def take(form):
        nonlocal at
        v = struct.unpack_from('<' + form, data, at)
        at += struct.calcsize('<' + form)
        return v[0] if len(v) == 1 else list(v)

    def value(kind):
        nonlocal at
        if kind == 8:
            n = take('Q')
            at += n
            return data[at - n:at].decode('utf-8', 'replace')
        if kind == 9:
            inner, n = take('IQ')
            return [value(8) for _ in range(n)] if inner == 8 else take(f'{n}{plain[inner]}')
        return take(plain[kind])

    _, count = take('QQ')
    pairs = [(value(8), value(take('I'))) for _ in range(count)]
    return dict(pairs)


def load(path):
    """The tokenizer that transformers would have of such a vocabulary."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast
    m = read_metadata(path)
    tokens, kinds = m['tokenizer.ggml.tokens'], m['tokenizer.ggml.token_type']
    vocab = {t: i for i, t in enumerate(tokens)}
    ends = {}
    if m['tokenizer.ggml.model'] == 'llama':
        # Every way to put a token together is a merge, the best token first.
        order = sorted(range(len(tokens)), key=lambda i: -m['tokenizer.ggml.scores'][i])
        merges = [(t[:k], t[k:]) for t in (tokens[i] for i in order if kinds[i] == 1) for k in range(1, len(t))
                  if t[:k] in vocab and t[k:] in vocab]
        t = Tokenizer(models.BPE(vocab, merges, unk_token='<unk>', byte_fallback=True, fuse_unk=True))
        t.normalizer = normalizers.Sequence([normalizers.Prepend('\u2581'), normalizers.Replace(' ', '\u2581')])
        ends = {'bos_token': '<s>', 'eos_token': '</s>'}
    else:
        t = Tokenizer(models.BPE(vocab, [tuple(x.split(' ')) for x in m['tokenizer.ggml.merges']]))
        t.pre_tokenizer = pre_tokenizers.Sequence([
            pre_tokenizers.Split(Regex(WORDS), 'isolated'), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
        t.decoder = decoders.ByteLevel()
    t.add_special_tokens([AddedToken(x, special=True, normalized=False) for x, k in zip(tokens, kinds) if k == CONTROL])
    return PreTrainedTokenizerFast(tokenizer_object=t, **ends)


def chats_of(name):
    for chat in CHATS:
        if name not in NO_SYSTEM or chat[0][0] != S:
            yield chat, chat[-1][0] == U, [{'role': r, 'content': c} for r, c in chat]


def theirs(vocabs):
    try:
        from transformers.utils.chat_template_utils import render_jinja_template
    except ImportError:
        print('chat: there is no transformers here', file=sys.stderr)
        return 77
    for name, template in TEMPLATES.items():
        for chat, prompt, messages in chats_of(name):
            text = render_jinja_template([messages], chat_template=template, add_generation_prompt=prompt,
                                         bos_token='<s>', eos_token='</s>')[0][0]
            print(json.dumps([name, chat, prompt, text]))
    for path in vocabs:
        tokenizer = load(path)
        for name in next(v for k, v in VOCABS.items() if k in path):
            for chat, prompt, messages in chats_of(name):
                ids = tokenizer.apply_chat_template(messages, chat_template=TEMPLATES[name], tokenize=True,
                                                    add_generation_prompt=prompt, return_dict=False)
                # As a server adds it, and pockd: where the vocabulary asks for it.
                if tokenizer.bos_token and ids[0] != tokenizer.bos_token_id:
                    ids.insert(0, tokenizer.bos_token_id)
                print(json.dumps([name, chat, prompt, ids, os.path.basename(path)]))
    return 0


def ours(program, name, chat, prompt, vocab):
    args = ['01'[prompt], *[x for pair in chat for x in pair]]
    if vocab:
        out = subprocess.run([program, '--ids', vocab, name, *args], stdout=subprocess.PIPE, check=True).stdout
        return json.loads(out)
    with tempfile.NamedTemporaryFile('w', suffix='.jinja') as f:
        f.write(TEMPLATES[name])
        f.flush()
        out = subprocess.run([program, f.name, *args], stdout=subprocess.PIPE, check=True).stdout
    said, text = out.decode().split('\n', 1)
    return text if said == name else f'a template like {said}'


def compare(program, path):
    count, same = {}, {}
    folder = os.path.dirname(path)
    for line in open(path):
        name, chat, prompt, want, *vocab = json.loads(line)
        got = ours(program, name, chat, prompt, os.path.join(folder, *vocab) if vocab else None)
        key = f'ids by {vocab[0]}' if vocab else 'texts'
        count[key] = count.get(key, 0) + 1
        same[key] = same.get(key, 0) + (got == want)
        if got != want:
            print(f'{key}, {name}:\n  ours   {got!r}\n  theirs {want!r}')
    for key in count:
        print(f'{key}: {same[key]} of {count[key]} conversations are the same')
    return 0 if count and same == count else 1


sys.exit(theirs(sys.argv[2:]) if sys.argv[1] == 'theirs' else compare(*sys.argv[2:]))
