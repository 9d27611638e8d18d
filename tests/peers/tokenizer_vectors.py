#!/usr/bin/env python3
# SPDX-FileCopyrightText: the pockd authors
# SPDX-License-Identifier: Apache-2.0
"""Tokenizers to be compared with, made and asked where the tokenizers library is.

usage: tokenizer_vectors.py compare VECTORS IDS lines of [text, control, id...] with lines of [id...]
       tokenizer_vectors.py join VECTORS IDS    the first with the ids of the second
       tokenizer_vectors.py train DIR COUNT     DIR/NAME.json and DIR/NAME.jsonl, for each pre-tokenizer
       tokenizer_vectors.py vectors JSON COUNT  the lines alone, for a tokenizer that is there
       tokenizer_vectors.py llama GGUF VECTORS  compare lines of [text, control, id...] with llama-tokenize

A line is [text, control, id, ...]; control is 1 where the names of control
tokens in the text become these tokens. tokenizers.sh runs all of it.
"""
import json
import os
import random
import subprocess
import sys
import tempfile

SEPARATOR = '<|cut|>'
CONTRACTION = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
LEAD = r'[^\r\n\p{L}\p{N}]?'
HEAD, TAIL = r'[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]', r'[\p{Ll}\p{Lm}\p{Lo}\p{M}]'


def rest(slash):
    return r' ?[^\s\p{L}\p{N}]+[\r\n' + slash + r']*|\s*[\r\n]+|\s+(?!\S)|\s+'


def cased(end):
    return f'{LEAD}{HEAD}*{TAIL}+{end}|{LEAD}{HEAD}+{TAIL}*{end}|'


WORDS = CONTRACTION + '|' + LEAD + r'\p{L}+|'
# Name in GGUF -> regular expressions of Split, Digits, ByteLevel's own; ignore_merges.
PRE = {
    'gpt-2': ([], False, True, False),
    'smollm': ([], True, True, False),
    'llama-bpe': ([WORDS + r'\p{N}{1,3}|' + rest('')], False, False, True),
    'dbrx': ([WORDS + r'\p{N}{1,3}|' + rest('')], False, False, False),
    'qwen2': ([WORDS + r'\p{N}|' + rest('')], False, False, False),
    'tekken': ([cased('') + r'\p{N}|' + rest('/')], False, False, True),
    'gpt-4o': ([cased(CONTRACTION + '?') + r'\p{N}{1,3}|' + rest('/')], False, False, False),
    'deepseek-coder': (['[\r\n]', r'\s?\p{L}+', r'\s?\p{P}+', '[一-龥ࠀ-一가-\ud7ff]+'], True, False, False),
    'deepseek-v3': ([r'\p{N}{1,3}', '[一-龥\u3040-ゟ゠-ヿ]+',
                     r'[!"#$%&' + "'" + r'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^' + '\r\n' + r'\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+'
                     r'| ?[\p{P}\p{S}]+[' + '\r\n' + r']*|\s*[' + '\r\n' + r']+|\s+(?!\S)|\s+'], False, False, False),
}
ALPHABETS = [
    'abcdefghijklmnopqrstuvwxyz', 'ABC xyz 019', ' \t\n\r\u00a0\u2009\u3000', "'strevmldSTREVMLD ", '.,;:!?-_()[]{}"\'$+<=>^~|`/',
    'àéîõüßñçøåÀÉŐǅ', 'абвгдежзиклмнАБВ', '你好世界我是中文', 'あいうえおカキクケコ', '가나다라마', 'אבגדה', 'ابتثج', 'कखगघङािी',
    '😀😁🎉👍🏽❤️‍🔥', '0123456789٠١٢३४Ⅷ½', '\x00\x01\x07\x1b\x7f\x85', 'the and of to in is it that for was ', 'e\u0301o\u0308ｆｕｌｌ，。',
]
SPECIAL = ['<s>', '</s>', SEPARATOR]


def random_text(rng):
    out = []
    for _ in range(rng.randint(1, 8)):
        if rng.random() < 0.1:
            c = rng.randrange(0x110000)
            # U+017F is an s to (?i:) and no s to llama.cpp; U+2581 is a blank to SentencePiece.
            out.append(chr(c) if not 0xd800 <= c < 0xe000 and c not in (0x17f, 0x2581) else ' ')
        else:
            a = rng.choice(ALPHABETS)
            out.append(''.join(rng.choice(a) for _ in range(rng.randint(1, 12))))
        if rng.random() < 0.5:
            out.append(' ' * rng.randint(1, 3))
    return ''.join(out)


def put_vectors(tokenizer, count, out):
    rng = random.Random(11)
    tokenizer.encode_special_tokens = True
    for _ in range(count):
        text = random_text(rng)
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        print(json.dumps([text, 0, *ids], separators=(',', ':')), file=out)


def corpus():
    rng = random.Random(5)
    for module in ('argparse', 'tarfile', 'typing', 'pydoc'):
        with open(__import__(module).__file__) as f:
            yield from f.read().split('\n\n')
    for _ in range(20000):
        yield random_text(rng)


def train_byte_level(name):
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    splits, digits, own, ignore = PRE[name]
    t = Tokenizer(models.BPE(ignore_merges=ignore))
    steps = [pre_tokenizers.Split(Regex(s), 'isolated') for s in splits]
    steps += [pre_tokenizers.Digits(individual_digits=True)] if digits else []
    steps += [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=own)]
    t.pre_tokenizer = pre_tokenizers.Sequence(steps) if len(steps) > 1 else steps[0]
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator(corpus(), trainers.BpeTrainer(
        vocab_size=4000, special_tokens=SPECIAL, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    return t


def train_sentencepiece():
    """As SentencePiece's vocabularies are converted: every way to put a token together is a merge."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, trainers
    t = Tokenizer(models.BPE())
    t.normalizer = normalizers.Sequence([normalizers.Prepend('▁'), normalizers.Replace(' ', '▁')])
    from tokenizers import pre_tokenizers
    t.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme='never')
    t.train_from_iterator((s.replace('\0', '') for s in corpus()), trainers.BpeTrainer(vocab_size=3000, limit_alphabet=300, show_progress=False))
    made = json.loads(t.to_str())['model']
    tokens = SPECIAL[:2] + [f'<0x{b:02X}>' for b in range(256)] + sorted(made['vocab'], key=made['vocab'].get)
    tokens = list(dict.fromkeys(['<unk>'] + tokens))
    vocab = {x: i for i, x in enumerate(tokens)}
    merges = []
    for x in sorted(made['vocab'], key=made['vocab'].get):
        merges += [(x[:i], x[i:]) for i in range(1, len(x)) if x[:i] in made['vocab'] and x[i:] in made['vocab']]
    t = Tokenizer(models.BPE(vocab, merges, unk_token='<unk>', byte_fallback=True, fuse_unk=True))
    t.normalizer = normalizers.Sequence([normalizers.Prepend('▁'), normalizers.Replace(' ', '▁')])
    t.decoder = decoders.ByteFallback()
    t.add_special_tokens([AddedToken(x, special=True, normalized=False) for x in ['<unk>', *SPECIAL]])
    return t


def train(where, count):
    for name in (os.environ.get('ONLY') or ' '.join([*PRE, 'spm'])).split():
        t = train_sentencepiece() if name == 'spm' else train_byte_level(name)
        t.save(f'{where}/{name}.json')
        with open(f'{where}/{name}.jsonl', 'w') as f:
            put_vectors(t, count, f)


def llama_ids(model, texts):
    """llama-tokenize takes one text; parts of it that a control token cuts are tokenized alone."""
    with tempfile.NamedTemporaryFile('w', newline='') as f:
        f.write(SEPARATOR.join(texts))
        f.flush()
        out = subprocess.run(['llama-tokenize', '-m', model, '-f', f.name, '--ids', '--no-bos', '--log-disable'],
                             check=True, capture_output=True, text=True).stdout
    ids = json.loads(out[out.index('['):])
    cut = json.loads(subprocess.run(['llama-tokenize', '-m', model, '-p', SEPARATOR, '--ids', '--no-bos', '--log-disable'],
                                    check=True, capture_output=True, text=True).stdout.strip().splitlines()[-1])[-1]
    parts = [[]]
    for i in ids:
        if i == cut:
            parts.append([])
        else:
            parts[-1].append(i)
    return parts


def llama(model, vectors):
    lines = [json.loads(s) for s in open(vectors) if s.strip()]
    # llama-tokenize reads text up to NUL.
    lines = [v for v in lines if '\0' not in v[0] and v[0]]
    bad = 0
    for at in range(0, len(lines), 2000):
        some = lines[at:at + 2000]
        got = llama_ids(model, [v[0] for v in some])
        assert len(got) == len(some), (len(got), len(some))
        for v, ids in zip(some, got):
            if v[2:] != ids:
                bad += 1
                if bad <= 3:
                    print(json.dumps([v[0], 'ours', v[2:], 'llama.cpp', ids]))
    print(f'{model}: {len(lines)} texts, {bad} differ from llama.cpp')
    return bad


def compare(vectors, ids):
    bad = count = 0
    with open(vectors) as f, open(ids) as g:
        for line, ours in zip(f, g, strict=True):
            v, got = json.loads(line), json.loads(ours)
            count += 1
            if v[2:] != got:
                bad += 1
                if bad <= 3:
                    print(json.dumps([v[0], 'library', v[2:], 'ours', got]))
    print(f'{vectors}: {count} texts, {bad} differ from the library')
    return bad


def join(vectors, ids):
    with open(vectors) as f, open(ids) as g:
        for line, ours in zip(f, g, strict=True):
            print(json.dumps(json.loads(line)[:2] + json.loads(ours)))


if sys.argv[1] == 'train':
    train(sys.argv[2], int(sys.argv[3]))
elif sys.argv[1] == 'vectors':
    from tokenizers import Tokenizer
    put_vectors(Tokenizer.from_file(sys.argv[2]), int(sys.argv[3]), sys.stdout)
elif sys.argv[1] == 'join':
    join(sys.argv[2], sys.argv[3])
elif sys.argv[1] == 'compare':
    sys.exit(compare(sys.argv[2], sys.argv[3]) > 0)
else:
    # Letters that Unicode got lately are none to llama.cpp yet; of few texts, two may have some.
    sys.exit(llama(sys.argv[2], sys.argv[3]) > max(2, sum(1 for _ in open(sys.argv[3])) // 1000))
