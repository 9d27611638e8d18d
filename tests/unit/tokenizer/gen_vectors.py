#!/usr/bin/env python3
# SPDX-FileCopyrightText: the pockd authors
# SPDX-License-Identifier: Apache-2.0
"""Print texts with the ids that the tokenizers library gives them.

usage: gen_vectors.py TOKENIZER.json COUNT [TEXT_FILE...] > vectors.jsonl

One line a text: [text, control, id, ...]; control is 1 where the names of
control tokens in the text become these tokens. COUNT random strings, the
handmade ones below, and each line of the files. The committed file was made by
`gen_vectors.py tokenizer.json 300`; tests read another one where POCK_VECTORS
names it.
"""
import json
import random
import sys

from tokenizers import Tokenizer

HANDMADE = [
    '', ' ', '  ', '   ', '\n', '\n\n', ' \n', '\n ', '\t\t', '\r\n', 'a', ' a', '  a', 'a ', 'a  ',
    'Hello, world!', "I'll we've don't it's I'm he'd they're", "I'LL WE'VE DON'T", "'s 't 're", "''s", "'", "''", "' s",
    "it's'll", "x'sy", "don'", "'l", "'r", "'v", '3.14159 1,000,000', '٣٤٥ ५६ ⅷ ½ ²', 'a1b2c3', '1a', ' 12 ab', 'ab12!?',
    '!!!???...', ' !!!', '-- --', 'a\u00a0b', 'a\u3000\u3000b', '\u2028\u2029', 'a \u00a0 b', ' \u2003x', 'naïve café',
    'e\u0301e\u0301', 'ÀÉÎÕÜ ß', 'Привет, мир', 'こんにちは世界', '안녕하세요', 'שלום עולם', 'مرحبا', 'हिन्दी', 'ไทย',
    '😀', '👩‍👩‍👧‍👦', '🇩🇪🇸🇪', 'a😀b', ' 😀 😀', '\u0000', '\u0001\u0002', '\x7f', '\x1b[31mred\x1b[0m', '\ufeffbom', '\ufffd',
    '\U0010ffff', '\ue000', 'tab\there', 'line\nline\n', 'x' * 300, 'ab' * 200, ' ' * 100, '\n' * 50, 'x' + ' ' * 30 + 'y',
    'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa', 'antidisestablishmentarianism',
    'https://example.org/a_b?c=d&e=%20', 'int main(void) { return 0; }', '    indented', '\tif (x)\n\t\ty();\n',
    '<|end|>', '<|user|>hi<|end|><|assistant|>', 'a<|endoftext|>b', ' <|end|> ', '<|end|', '<|END|>', '|end|>', '<<|end|>>',
    '<|end|><|end|>', '<|endoftext', 'ĠĊ', 'Ġt', '<0x0A>', 'hello Ġ world',
]
ALPHABETS = [
    'abcdefghijklmnopqrstuvwxyz', 'ABC xyz 019', ' \t\n\r\u00a0\u2009\u3000', "'strevmld ", '.,;:!?-_()[]{}"\'', 'àéîõüßñçøå',
    'абвгдежзиклмн', '你好世界我是中文', 'あいうえおカキクケコ', '가나다라마', 'אבגדה', 'ابتثج', 'कखगघङ', '😀😁🎉👍🏽❤️‍🔥', '0123456789٠١٢३४Ⅷ½',
    '\x00\x01\x07\x1b\x7f\x85', '<|end|>useraint', 'the and of to in is it that for was ',
]


def random_text(rng):
    out = []
    for _ in range(rng.randint(1, 8)):
        if rng.random() < 0.1:
            c = rng.randrange(0x110000)
            out.append(chr(c) if not 0xd800 <= c < 0xe000 else ' ')
        elif rng.random() < 0.08:
            out.append(rng.choice(['<|end|>', '<|user|>', '<|assistant|>', '<|endoftext|>']))
        else:
            a = rng.choice(ALPHABETS)
            out.append(''.join(rng.choice(a) for _ in range(rng.randint(1, 12))))
        if rng.random() < 0.5:
            out.append(' ' * rng.randint(1, 3))
    return ''.join(out)


tokenizer = Tokenizer.from_file(sys.argv[1])
rng = random.Random(7)
texts = HANDMADE + [random_text(rng) for _ in range(int(sys.argv[2]))]
for name in sys.argv[3:]:
    with open(name, newline='') as f:
        whole = f.read()
    texts += [whole] + [json.loads(s).get('text') or s for s in whole.splitlines()
                        if s.startswith('{')] + whole.splitlines()
for text in texts:
    for control in (0, 1) if '<|' in text else (0,):
        tokenizer.encode_special_tokens = not control
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        print(json.dumps([text, control, *ids], separators=(',', ':')))
