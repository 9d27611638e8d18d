#!/usr/bin/env python3
# SPDX-FileCopyrightText: the pockd authors
# SPDX-License-Identifier: Apache-2.0
"""Chat formats against jinja, as transformers runs it.

usage: peer_chat.py PRINT_CHAT

Each template below says what that of a family of models says, in words of our
own; transformers renders conversations with it (its settings of jinja), and
print_chat must recognise the template and give the same text. That equal texts
are equal ids is shown by tests/unit/tokenizer/test_chat_format.c. In a root made
by peer_root.sh: copy print_chat and this file into ROOT/data.
"""
import subprocess
import sys
import tempfile

try:
    from transformers.utils.chat_template_utils import render_jinja_template
except ImportError:
    print('peer_chat: there is no transformers here')
    sys.exit(77)

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


def main():
    bad = n = 0
    for want, template in TEMPLATES.items():
        with tempfile.NamedTemporaryFile('w', suffix='.jinja') as f:
            f.write(template)
            f.flush()
            for chat in CHATS:
                if want in NO_SYSTEM and chat[0][0] == S:
                    continue
                prompt = chat[-1][0] == U
                messages = [{'role': r, 'content': c} for r, c in chat]
                theirs = render_jinja_template([messages], chat_template=template, add_generation_prompt=prompt,
                                               bos_token='<s>', eos_token='</s>')[0][0]
                args = [x for pair in chat for x in pair]
                out = subprocess.run([sys.argv[1], f.name, '01'[prompt], *args], stdout=subprocess.PIPE, check=True)
                name, ours = out.stdout.decode().split('\n', 1)
                n += 1
                if name != want or ours != theirs:
                    bad += 1
                    print('%s (%s):\n  ours   %r\n  theirs %r' % (want, name, ours, theirs))
    print('%d of %d conversations in %d formats are the same' % (n - bad, n, len(TEMPLATES)))
    return 1 if bad else 0


sys.exit(main())
