#!/usr/bin/env python3
# SPDX-FileCopyrightText: the pockd authors
# SPDX-License-Identifier: Apache-2.0
"""pockctl as a user sees it, against a real pockd: texts, statuses, JSON."""
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import time

import pockd_rpc
from pockd_rpc import BUILD, ROOT, SANITIZE, SLOW, Client, Daemon, RpcError

POCKCTL = os.path.join(BUILD, 'clients/pockctl/pockctl')
DEMO = os.path.join(ROOT, 'clients/demo')


class Result:
    def __init__(self, p, out, err):
        self.status, self.out, self.err = p.returncode, out, err

    def json(self):
        v = json.loads(self.out)
        assert v['schema'] == 1, v
        return v


def environment(d):
    env = dict(os.environ, LC_ALL='C.UTF-8', TZ='UTC', TERM='xterm')
    env['POCKD_SOCKET'] = d.socket if d else '/nonexistent/pockd.sock'
    return env


def ctl(d, *args, status=0, text=None):
    p = subprocess.Popen([POCKCTL, *args], env=environment(d), stdin=subprocess.PIPE,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out, err = p.communicate(text if isinstance(text, bytes) else (text or '').encode(), 120 * SLOW)
    r = Result(p, out.decode('utf-8', 'replace'), err.decode('utf-8', 'replace'))
    assert status is None or r.status == status, f'{args}: status {r.status}, not {status}\n{r.out}{r.err}'
    return r


def write(d, name, text):
    path = os.path.join(d.dir, name)
    with open(path, 'wb') as f:
        f.write(text if isinstance(text, bytes) else text.encode())
    return path


def rows(text):
    return [re.split(r'  +', line.strip()) for line in text.splitlines()]


def says_that_no_daemon_runs_and_exits_3():
    r = ctl(None, 'status', status=3)
    assert re.fullmatch(r'pockctl: cannot connect to \S+: .*: start the daemon .* \(NOT_READY\)\n',
                        r.err), r.err
    assert r.out == ''
    r = ctl(None, 'data', 'list', '--json', status=3)
    assert json.loads(r.err)['error']['name'] == 'NOT_READY' and r.out == ''
    r = ctl(None, 'doctor', '--json', status=12)
    assert r.json()['ok'] is False
    assert ctl(None, 'version', '--json').json()['pockd'] is None


def explains_wrong_usage_and_exits_2():
    for args in (['frobnicate'], ['data'], ['data', 'list', '--bogus'], ['gen', 'a', 'b'],
                 ['data', 'list', '--since', 'soon'], ['data', 'erase'],
                 ['adapter', 'export', '--format', 'zip'], ['status', '--color', 'blue']):
        r = ctl(None, *args, status=2)
        assert r.err.startswith('pockctl: ') and r.out == '', (args, r.err)
    for args in (['help'], ['help', 'data'], ['help', 'data', 'import'], ['data', 'import', '--help']):
        assert ctl(None, *args).out
    assert ctl(None, 'help', 'nonsense', status=2)
    # Alone: what fits on a screen, each group once.
    page = ctl(None).out.splitlines()
    assert len(page) <= 24 and max(map(len, page)) <= 80 and ' '.join(page).count('data ...,') == 1, page
    assert 'redact' in ' '.join(page) and len(ctl(None, '--help').out.splitlines()) > 24
    assert 'did you mean "data import"?' in ctl(None, 'data', 'improt', 'x', status=2).err


def imports_once_however_often():
    with Daemon() as d:
        files = [f'{DEMO}/notebook.jsonl', f'{DEMO}/messages.jsonl']
        r = ctl(d, 'data', 'import', *files, '--until', '2025-12-31', '--json').json()
        assert (r['records'], r['new'], r['bad']) == (468, 468, 0), r
        r = ctl(d, 'data', 'import', *files, '--json').json()
        assert (r['records'], r['new'], r['bad']) == (540, 72, 0), r
        table = rows(ctl(d, 'data', 'count', '--no-header').out)
        assert ['notebook', '300'] == table[1][:2] and ['messages', '240'] == table[0][:2], table
        assert ctl(d, 'data', 'count', '-q').out == '540\n'
        # A date of the notebook is the record's time.
        first = ctl(d, 'data', 'list', '--stream', 'notebook', '--limit', '1', '--json').json()
        assert first['records'][0]['time'] == 1740787200000, first


def masks_what_is_secret_and_says_so():
    text = 'Card 4111 1111 1111 1111 and a@example.org, order 4111111111111112.\n'
    masked = 'Card <CARD> and <EMAIL>, order 4111111111111112.\n'
    # Without a daemon: nothing is sent anywhere.
    r = ctl(None, 'redact', text=text)
    assert (r.out, r.err) == (masked, 'masked: 1 card, 1 email\n'), (r.out, r.err)
    r = ctl(None, 'redact', '--color=always', text=text)
    assert '\x1b[31m4111 1111 1111 1111\x1b[0m' in r.out, r.out
    r = ctl(None, 'redact', '--json', text=text).json()
    assert r['found'][0] == {'class': 'card', 'begin': 5, 'end': 24}, r
    assert ctl(None, 'redact', '/nonexistent', status=5).err
    with Daemon() as d:
        path = write(d, 'note.txt', text)
        r = ctl(d, 'data', 'import', path)
        assert 'masked before it was stored: 1 card, 1 email\n' in r.err, r.err
        assert '<CARD> and <EMAIL>' in ctl(d, 'data', 'show', '1').out
        ctl(d, 'policy', 'set', 'redact=off,card=drop')
        r = ctl(d, 'data', 'import', write(d, 'other.txt', 'x ' + text), '--json').json()
        assert (r['dropped'], r['new'], r['redacted']) == (1, 0, {}), r
        r = ctl(d, 'policy', 'set', 'redact=cards=off', status=2)
        assert '"cards" must be one of card, iban, id, email,' in r.err, r.err
        r = ctl(d, 'policy', 'set', 'redact=hide', status=2)
        assert '"hide" must be off, mask, shape or drop' in r.err, r.err


def reports_bad_lines_and_takes_the_rest():
    with Daemon() as d:
        path = write(d, 'mixed.jsonl', b'{"text": "one"}\nnot json\n{"text": "\xff"}\n'
                     b'{"text": "' + b'x' * (10 << 20) + b'"}\n{"prompt": "a"}\n{"text": "two"}\n')
        r = ctl(d, 'data', 'import', path, status=1)
        lines = [line for line in r.err.splitlines() if line.startswith('pockctl: ')]
        assert [int(re.search(r'mixed\.jsonl:(\d+): ', line)[1]) for line in lines] == [2, 3, 4, 5], r.err
        assert '10240 KiB' in lines[2], lines[2]
        assert rows(r.out)[1][2:] == ['2', '2', '0', '0', '4'], r.out
        ctl(d, 'data', 'import', '/nonexistent.jsonl', status=5)
        ctl(d, 'data', 'import', '-', status=2, text='x')
        r = ctl(d, 'data', 'import', '-', '--stream', 's', '--format', 'txt', '-q', text='a\n\nb\n')
        assert len(r.out.split()) == 2, r.out


def names_the_record_that_the_daemon_refuses():
    with Daemon() as d:
        line = '{"uid": "%032x", "text": "%s"}\n'
        ctl(d, 'data', 'import', write(d, 'a.jsonl', line % (1, 'one') + line % (2, 'two')), '-s', 's')
        # 300 records in several batches, two of them under a uid that is taken.
        text = ''.join(line % (1000 + i, f'text {i}') for i in range(300))
        path = write(d, 'b.jsonl', line % (1, 'other') + text + line % (2, 'other'))
        r = ctl(d, 'data', 'import', path, '-s', 's', '--json', status=1)
        assert (r.json()['records'], r.json()['new'], r.json()['bad']) == (300, 300, 2), r.out
        assert sorted(re.findall(r'b\.jsonl:(\d+)', r.err)) == ['1', '302'], r.err
        assert ctl(d, 'data', 'count', '-q').out == '302\n'


def shows_a_plan_and_changes_nothing_on_a_dry_run():
    with Daemon() as d:
        path = write(d, 'diary.md', '# 2025-03-01\nBees.\n\n# 2025-03-02\nFrost.\n')
        r = ctl(d, 'data', 'import', path, '--dry-run')
        assert rows(r.out)[1][1:3] == ['diary', '2'] and 'dry run' in r.err
        assert ctl(d, 'data', 'count', '-q').out == '0\n'
        ctl(d, 'data', 'import', path)
        r = ctl(d, 'data', 'erase', '--until', '2025-03-01', '--dry-run', '--json').json()
        assert (r['records'], r['done']) == (1, False), r
        assert 'give --yes' in ctl(d, 'data', 'erase', '--all', status=2).err
        assert ctl(d, 'data', 'count', '-q').out == '2\n'
        r = ctl(d, 'data', 'erase', '--until', '2025-03-01', '--yes')
        assert 'erased 1 record\n' in r.out
        left = ctl(d, 'data', 'list', '--json').json()['records']
        assert [x['time'] for x in left] == [1740873600000], left
        text = ctl(d, 'data', 'show', str(left[0]['id'])).out
        assert 'Frost.' in text and '2025-03-02' in text, text
        ctl(d, 'data', 'show', '999', status=5)


def exports_what_it_can_import_again():
    with Daemon() as d:
        ctl(d, 'data', 'import', f'{DEMO}/messages.jsonl')
        out = os.path.join(d.dir, 'out.jsonl')
        r = ctl(d, 'data', 'export', '-o', out, '--json').json()
        assert r['records'] == 240 and os.path.getsize(out) == r['bytes'], r
        assert ctl(d, 'data', 'export').out.encode() == open(out, 'rb').read()
        r = ctl(d, 'data', 'import', out, '--json').json()
        assert (r['records'], r['new']) == (240, 0), r
        ctl(d, 'data', 'export', '-o', '/nonexistent/x', status=1)
        ctl(d, 'data', 'export', '--json', status=2)
        assert sorted(os.listdir(d.dir)).count('out.jsonl.part') == 0


def tells_gates_status_and_policy():
    with Daemon() as d:
        r = ctl(d, 'why', status=10)
        names = [row[0] for row in rows(r.out)[1:19]]
        assert 'power' in names and 'data' in names, r.out
        v = ctl(d, 'why', '--json', status=10).json()
        assert v['would_run'] is False and {'gate', 'ok', 'value', 'threshold', 'source'} <= set(v['gates'][0])
        assert 'model' in ctl(d, 'why', '-q', status=10).out.split()
        s = ctl(d, 'status', '--json').json()
        assert s['records'] == 0 and s['degraded'] is False, s
        assert ctl(d, 'status', '-q').out.strip() == s['state']
        ctl(d, 'policy', 'set', 'idle_s=90', 'respect_idle=no')
        p = ctl(d, 'policy', 'get', 'idle_s', 'respect_idle', '--json').json()['policy']
        assert {x['key']: x['value'] for x in p} == {'idle_s': 90, 'respect_idle': False}, p
        ctl(d, 'policy', 'set', 'idle_s=soon', status=2)
        ctl(d, 'policy', 'set', 'idle_s=-5', status=2)
        assert '`pockctl policy get` lists them' in ctl(d, 'policy', 'set', 'nonsense=1', status=5).err
        assert 'did you mean idle_s?' in ctl(d, 'policy', 'get', 'idel_s', status=5).err
        assert 'none has been saved' in ctl(d, 'policy', 'set', 'train_scheme=@nope', status=5).err
        assert 'ASCII' in ctl(d, 'policy', 'set', 'train_scheme=l\u00f6ra', status=2).err
        ctl(d, 'policy', 'set', 'train_scheme={"rules": [{"tensors": "*", "learn": "lora"}]}')
        p = ctl(d, 'policy', 'get', 'train_scheme', '--json').json()['policy'][0]
        assert p['type'] == 'str' and p['default'] == '' and 'min' not in p, p
        assert p['value'] == '{"rules":[{"tensors":"*","learn":"lora"}]}', p
        assert p['value'] in ctl(d, 'policy', 'get').out
        ctl(d, 'policy', 'set', 'train_scheme=')
        assert ctl(d, 'policy', 'get', 'train_scheme', '--json').json()['policy'][0]['value'] == ''
        ctl(d, 'policy', 'set', 'idle_s=')
        p = ctl(d, 'policy', 'get', 'idle_s', '--json').json()['policy'][0]
        assert p['value'] == p['default'], p


def edits_the_policy_in_an_editor():
    with Daemon() as d:
        env = dict(environment(d), VISUAL="sed -i 's/^budget_s = .*/budget_s = 60/'")
        r = subprocess.run([POCKCTL, 'policy', 'edit', '--json'], env=env, capture_output=True,
                           timeout=60 * SLOW)
        assert r.returncode == 0, r.stderr
        p = json.loads(r.stdout)['policy']
        assert [(x['key'], x['value']) for x in p] == [('budget_s', 60)], p
        for value in ('lora-last:4', ''):
            env['VISUAL'] = f"sed -i 's/^train_scheme = .*/train_scheme = {value}/'"
            r = subprocess.run([POCKCTL, 'policy', 'edit', '--json'], env=env, capture_output=True,
                               timeout=60 * SLOW)
            assert r.returncode == 0, r.stderr
            p = json.loads(r.stdout)['policy']
            assert [(x['key'], x['value']) for x in p] == [('train_scheme', value)], p
        env['VISUAL'] = 'true'
        r = subprocess.run([POCKCTL, 'policy', 'edit'], env=env, capture_output=True, timeout=60 * SLOW)
        assert r.returncode == 0 and b'nothing was changed' in r.stderr
        env['VISUAL'] = 'false'
        r = subprocess.run([POCKCTL, 'policy', 'edit'], env=env, capture_output=True, timeout=60 * SLOW)
        assert r.returncode == 1


def inhibits_training_while_a_command_runs():
    with Daemon() as d:
        r = ctl(d, 'inhibit', 'sh', '-c', f'{POCKCTL} why -q; exit 5', status=5)
        assert 'inhibitors' in r.out.split(), r.out
        assert 'inhibitors' not in ctl(d, 'why', '-q', status=10).out.split()
        ctl(d, 'inhibit', '/nonexistent', status=127)
        ctl(d, 'inhibit', 'sh', '-c', 'kill -9 $$', status=137)
    ctl(None, 'inhibit', 'true')


def refuses_what_needs_a_model_with_status_5():
    with Daemon() as d:
        for args in (['gen', 'hello'], ['train', 'now'], ['adapter', 'rollback'],
                     ['adapter', 'show', '1'], ['model', 'show', 'x'], ['model', 'rm', 'x', '--yes']):
            r = ctl(d, *args, status=5)
            assert re.fullmatch(r'pockctl: .* \(\w+\)\n', r.err), r.err
        assert ctl(d, 'model', 'list').out == ''
        assert ctl(d, 'adapter', 'list', '--json').json()['adapters'] == []


def st_tensors(tensors):
    """The bytes of a safetensors file: name -> shape, values of BF16."""
    header, at = {}, 0
    for name, shape in tensors.items():
        n = 2
        for k in shape:
            n *= k
        header[name] = {'dtype': 'BF16', 'shape': shape, 'data_offsets': [at, at + n]}
        at += n
    text = json.dumps(header).encode()
    text += b' ' * (-len(text) % 8)
    return struct.pack('<Q', len(text)) + text + b'\x10\x3d' * (at // 2)


def hf_directory(d, name, **config):
    """A directory of a tiny llama, in two shards."""
    path = os.path.join(d.dir, name)
    os.mkdir(path)
    c = {'model_type': 'llama', 'hidden_size': 64, 'num_hidden_layers': 2, 'num_attention_heads': 4,
         'num_key_value_heads': 2, 'intermediate_size': 128, 'vocab_size': 260,
         'max_position_embeddings': 64, 'tie_word_embeddings': True, 'bos_token_id': 256,
         'eos_token_id': 256, **config}
    # How byte-level BPE writes bytes.
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    other = [b for b in range(256) if b not in plain]
    vocab = {chr(b): b for b in plain} | {chr(256 + i): b for i, b in enumerate(other)}
    tokenizer = {'added_tokens': [{'id': 256, 'content': '<|endoftext|>', 'special': True}],
                 'pre_tokenizer': {'type': 'ByteLevel', 'add_prefix_space': False},
                 'model': {'type': 'BPE', 'vocab': vocab | {'th': 257}, 'merges': ['t h']}}
    shards = [{'model.embed_tokens.weight': [260, 64], 'model.norm.weight': [64]}, {}]
    for b in range(2):
        p = f'model.layers.{b}.'
        shards[b] |= {p + 'input_layernorm.weight': [64], p + 'post_attention_layernorm.weight': [64],
                      p + 'self_attn.q_proj.weight': [64, 64], p + 'self_attn.k_proj.weight': [32, 64],
                      p + 'self_attn.v_proj.weight': [32, 64], p + 'self_attn.o_proj.weight': [64, 64],
                      p + 'mlp.gate_proj.weight': [128, 64], p + 'mlp.up_proj.weight': [128, 64],
                      p + 'mlp.down_proj.weight': [64, 128]}
    names = [f'model-0000{i + 1}-of-00002.safetensors' for i in range(2)]
    files = {'config.json': json.dumps(c), 'tokenizer.json': json.dumps(tokenizer),
             'model.safetensors.index.json': json.dumps(
                 {'weight_map': {t: names[i] for i in range(2) for t in shards[i]}}),
             names[0]: st_tensors(shards[0]), names[1]: st_tensors(shards[1])}
    for f, data in files.items():
        with open(os.path.join(path, f), 'wb') as out:
            out.write(data if isinstance(data, bytes) else data.encode())
    return path


def takes_a_directory_as_a_model():
    with Daemon() as d:
        path = hf_directory(d, 'tiny-hf')
        r = ctl(d, 'model', 'add', path)
        assert r.out == 'tiny-hf\n' and 'kept as one GGUF file' in r.err, (r.out, r.err)
        v = ctl(d, 'model', 'show', 'tiny-hf', '--json').json()
        m, types = v['model'], {t['name'] for t in v['details']['types']}
        assert m['path'].startswith(os.path.join(d.dir, 'd/models/')) and os.path.exists(m['path']), m
        assert (m['arch'], m['layers'], m['width'], m['vocab']) == ('llama', 2, 64, 260), m
        assert types == {'bf16', 'f32'} and v['details']['train_bytes'] > 0, v
        assert [s['text'] for s in v['details']['specials']] == ['<|endoftext|>'] * 3, v  # bos, eos, eot
        shown = ctl(d, 'model', 'show', 'tiny-hf').out
        assert 'to train' in shown and 'llama' in shown and '<|endoftext|> (256)' in shown, shown
        assert 'pock (no template)' in shown, shown
        r = ctl(d, 'model', 'set', 'tiny-hf', '--chat-format', 'none')
        shown = ctl(d, 'model', 'show', 'tiny-hf').out
        assert 'none, as you set it (of the file: pock, no template)' in shown, shown
        # The same model again is known, and leaves no second file.
        r = ctl(d, 'model', 'add', path, '--name', 'again')
        assert r.out == 'tiny-hf\n' and 'known already' in r.err, r.err
        r = ctl(d, 'model', 'add', path, '--name', 'small', '--type', 'q8_0')
        assert r.out == 'small\n', r.out
        models = os.listdir(os.path.join(d.dir, 'd/models'))
        assert sorted(models) == ['small.gguf', 'tiny-hf.gguf'], models
        assert os.listdir(os.path.join(d.dir, 'd/tmp')) == []
        r = ctl(d, 'gen', '--model', 'small', '--max-tokens', '4', '--raw', 'the')
        r = ctl(d, 'model', 'rm', 'small', '--yes')
        assert 'deleted' in r.err and os.listdir(os.path.join(d.dir, 'd/models')) == ['tiny-hf.gguf']


def converts_models_both_ways():
    with Daemon() as d:
        path, out = hf_directory(d, 'hf'), os.path.join(d.dir, 'x.gguf')
        r = ctl(d, 'model', 'convert', path, '-o', out, '--type', 'q4_k')
        assert r.out == out + '\n' and 'q5_0' in r.err and 'blocks of 256' in r.err, r.err
        small = os.path.getsize(out)
        v = ctl(d, 'model', 'convert', out, '-o', out + '2', '--type', 'f16', '--json').json()
        assert {t['name'] for t in v['types']} == {'f16', 'f32'} and v['format'] == 'GGUF', v
        assert os.path.getsize(out + '2') > 2 * small
        r = ctl(d, 'model', 'convert', path, '-o', out, '--type', 'q3', status=None)
        assert r.status != 0 and 'q8_0, q4_0, q4_k' in r.err, r.err
        assert os.path.getsize(out) == small and not os.path.exists(out + '.part')
        r = ctl(d, 'model', 'convert', hf_directory(d, 'moe', model_type='mixtral'), '-o', out,
                '--type', 'f32', status=None)
        assert r.status != 0 and '"mixtral" cannot be converted; supported: llama' in r.err, r.err


def keeps_what_the_daemon_cannot_read():
    with Daemon() as d:
        model = f'{DEMO}/pock-16m-q8_0.gguf'
        r = ctl(d, 'model', 'add', model, '--copy', '--name', 'mine')
        m = ctl(d, 'model', 'show', 'mine', '--json').json()['model']
        assert m['path'] == os.path.join(d.dir, 'd/models/mine.gguf'), m
        with open(model, 'rb') as a, open(m['path'], 'rb') as b:
            assert a.read() == b.read()
        assert os.stat(m['path']).st_mode & 0o77 == 0
        # A file whose path leads nowhere for the daemon: only the descriptor.
        c = Client(d.socket)
        other = write(d, 'other.gguf', b'')
        with open(model, 'rb') as a, open(other, 'wb') as b:
            b.write(a.read() + b'\0' * 64)
        fd = os.open(other, os.O_RDONLY)
        os.unlink(other)
        v = c.call('model.add', fd=fd, path='/home/nobody/away.gguf')
        os.close(fd)
        assert v['kept'] in ('copied', 'cloned') and v['model']['name'] == 'away', v
        assert v['model']['path'].endswith('/models/away.gguf'), v


def refuses_sets_of_files_that_lead_away():
    with Daemon() as d:
        c, fd = Client(d.socket), os.open('/etc/passwd', os.O_RDONLY)
        for name in ('../config.json', '/etc/passwd', '..', 'a/b'):
            try:
                c.call('model.file', fd=fd, name=name)
                raise AssertionError(name)
            except RpcError as e:
                assert 'no name of a file' in e.msg, e
        try:
            c.call('model.add', path='/x', files=True)
            raise AssertionError('no files')
        except RpcError as e:
            assert 'no files were given' in e.msg, e
        assert c.call('model.file', fd=fd, name='config.json')['files'] == 1
        try:
            c.call('model.file', fd=fd, name='config.json')
            raise AssertionError('twice')
        except RpcError as e:
            assert e.name == 'EXISTS', e
        for i in range(47):
            c.call('model.file', fd=fd, name=f'f{i}')
        try:
            c.call('model.file', fd=fd, name='one-more')
            raise AssertionError('too many')
        except RpcError as e:
            assert 'at most 48' in e.msg, e
        # They are of this connection alone.
        try:
            Client(d.socket).call('model.add', path='/x', files=True)
            raise AssertionError('of another')
        except RpcError as e:
            assert 'no files were given' in e.msg, e
        path = hf_directory(d, 'bad')
        index = os.path.join(path, 'model.safetensors.index.json')
        with open(index, 'w') as f:
            json.dump({'weight_map': {'a': '../../etc/passwd'}}, f)
        r = ctl(d, 'model', 'add', path, status=None)
        assert r.status != 0 and "outside the model's directory" in r.err, r.err
        assert os.listdir(os.path.join(d.dir, 'd/tmp')) == []
        os.close(fd)


def names_what_is_no_model():
    with Daemon() as d:
        os.mkdir(os.path.join(d.dir, 'empty'))
        for name, data, words in (
                ('empty', None, 'neither config.json'),
                ('part.safetensors', b'x', 'give the directory'),
                ('m-00001-of-00002.gguf', b'GGUF', 'm-00002-of-00002.gguf'),
                ('text.gguf', b'hello', 'not a GGUF file')):
            path = os.path.join(d.dir, name) if data is None else write(d, name, data)
            r = ctl(d, 'model', 'add', path, status=None)
            assert r.status != 0 and words in r.err, (name, r.err)
        adapter = os.path.join(d.dir, 'empty', 'adapter_config.json')
        open(adapter, 'w').close()
        r = ctl(d, 'model', 'add', os.path.dirname(adapter), status=None)
        assert 'is an adapter, not a model' in r.err, r.err


def asks_a_model_and_cancels():
    with Daemon() as d:
        model = f'{DEMO}/pock-16m-q8_0.gguf'
        ctl(d, 'model', 'add', '/nonexistent.gguf', status=5)
        bad = write(d, 'bad.gguf', b'GGUF\x03\0\0\0' + b'\xff' * 64)
        r = ctl(d, 'model', 'add', bad, status=None)
        assert r.status != 0 and r.err.startswith('pockctl: '), r.err
        assert ctl(d, 'model', 'add', model, '--name', 'm').out == 'm\n'
        assert ctl(d, 'model', 'list', '-q').out == 'm\n'
        m = ctl(d, 'model', 'show', 'm', '--json').json()['model']
        assert (m['arch'], m['state'], m['default']) == ('llama', 'ready', True), m
        text = write(d, 'text', b'The bees\n\xff<|end|>')
        r = ctl(d, 'model', 'tokenize', 'm', text, '--ids')
        ids = r.out.split()
        assert len(ids) > 5 and all(i.isdigit() for i in ids) and f'{len(ids)} tokens' in r.err, r
        pieces = [line.split('\t') for line in ctl(d, 'model', 'tokenize', 'm', text).out.splitlines()]
        assert [p[0] for p in pieces] == ids and '3' not in ids, pieces
        assert ''.join(p[1] for p in pieces) == 'The bees\\x0a\\xff<|end|>', pieces
        assert ctl(d, 'model', 'tokenize', 'm', '-', '--ids', text='The bees').out.split() == ids[:3], ids
        assert ctl(d, 'model', 'tokenize', 'm', text, '--json').json()['tokens'] == len(ids)
        assert ctl(d, 'model', 'tokenize', 'm', '-', text='').out == ''
        ctl(d, 'model', 'tokenize', 'x', text, status=5)
        ctl(d, 'model', 'tokenize', 'm', '/nonexistent', status=None)
        ask = ['gen', '--seed', '3', '--max-tokens', '12', 'How are the bees?']
        streamed = ctl(d, *ask)
        whole = ctl(d, *ask, '--json').json()
        assert streamed.out == whole['text'] + '\n' and whole['tokens'] <= 12, (streamed.out, whole)
        assert streamed.err == '', streamed.err
        assert ctl(d, *ask[:-1], text='How are the bees?\n').out == streamed.out
        ctl(d, 'gen', '--temp', '11', 'x', status=2)
        ctl(d, 'gen', '', status=2)
        ctl(d, 'gen', '--adapter', 'none:x', 'x', status=2)

        texts = write(d, 'texts.jsonl', '{"text": "The bees are back."}\nbroken\n'
                      '{"prompt": "Hi", "completion": "Hello."}\n')
        r = ctl(d, 'score', texts, '--json', status=1).json()
        assert len(r['scores']) == 2 and r['bad'] == 1 and r['total']['tokens'] > 3, r
        assert abs(r['total']['loss'] - r['total']['nll'] / r['total']['tokens']) < 1e-9
        assert float(ctl(d, 'score', texts, '-q', status=1).out) > 0

        p = subprocess.Popen([POCKCTL, 'gen', '--raw', '--temp', '2', '--top-k', '0', '--top-p', '1',
                              '--max-tokens', '480', 'Bees'], env=environment(d),
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert select.select([p.stdout], [], [], 60 * SLOW)[0], 'no text came'
        p.send_signal(signal.SIGINT)
        _, err = p.communicate(timeout=60 * SLOW)
        assert p.returncode == 130 and err == b'', (p.returncode, err)
        assert ctl(d, *ask).out == streamed.out


def shows_what_a_job_would_take_and_draws_it():
    with Daemon() as d:
        ctl(d, 'plan', status=5)  # no model yet
        ctl(d, 'model', 'add', f'{DEMO}/pock-16m-q8_0.gguf')
        r = ctl(d, 'plan', '--recipe', 'batch=4,length=256,memory_mib=220', '--json').json()
        assert r['again'] == [] and r['again_pct'] == 0 and r['tensors'] == 112, r
        assert r['micro_batches'] * r['rows'] >= 4 and r['length'] == 256, r
        assert r['live_bytes'] <= r['arena_bytes'] <= 1.05 * r['live_bytes'], r
        assert r['arena_bytes'] <= 220 << 20 and r['why'].startswith('Nothing'), r

        svg = os.path.join(d.dir, 'plan.svg')
        tight = ['plan', '--recipe', 'batch=4,length=256,memory_mib=40']
        t = ctl(d, *tight, '--svg', svg, '--json').json()
        assert t['arena_bytes'] <= 40 << 20 and t['kept_bytes'] > 40 << 20, t
        assert t['again_pct'] > 0 and sum(g['count'] for g in t['again']) > 5, t
        drawing = open(svg).read()
        assert drawing.startswith('<svg ') and drawing.endswith('</svg>\n') and len(drawing) == t['drawing_bytes']
        assert drawing.count('<rect ') > 200 and 'made again' in drawing
        text = ctl(d, *tight).out
        assert 'run again for the gradients' in text and 'MADE AGAIN' in text, text
        assert int(ctl(d, *tight, '-q').out) == t['arena_bytes'] + t['state_bytes']

        # What does not fit gets shorter rows, or is refused with what it needs.
        short = ctl(d, 'plan', '--recipe', 'length=512,memory_mib=16', '--json').json()
        assert short['length'] < 512 and short['why'].startswith('Rows are cut to'), short
        for bad in ('rank=0', 'targets=x', 'length=x', 'nonsense'):
            assert 'recipe' in ctl(d, 'plan', '--recipe', bad, status=2).err
        ctl(d, 'plan', '--model', 'nope', status=5)
        ctl(d, 'plan', '--svg', '/nonexistent/x.svg', status=1)


def doctor_row(d, title='kernel times'):
    return next(c for c in ctl(d, 'doctor', '--json', status=None).json()['checks'] if c['check'] == title)


def lists_devices_and_which_is_used():
    with Daemon() as d:
        seen = doctor_row(d, 'devices')
        assert seen['level'] in ('ok', 'note') and re.search(r'cpu \w+, \d+ threads? \([\d.e+]+ GFLOP/s, ', seen['seen']), seen
        assert re.search(r'used: .+, since .+', seen['seen']), seen
        ctl(d, 'policy', 'set', 'device=cpu')
        assert re.search(r'used: cpu [^;]*threads?$', doctor_row(d, 'devices')['seen'])
        assert 'no device is called "gpu"' in ctl(d, 'policy', 'set', 'device=gpu', status=2).err
        assert 'no device is called "gpu"' in ctl(d, 'train', 'now', '--device', 'gpu', status=2).err


def times_kernels_and_plans_by_them():
    # Other tests run at the same time: --force takes what they leave.
    tune = ['doctor', '--tune', '--force', '--time', '5s']
    plan = ['plan', '--recipe', 'batch=2,length=64']
    name = 'pock-16m-q8_0' if SANITIZE == 'none' else 'tiny'
    with Daemon() as d:
        for bad in (['--time', '5s'], ['--force'], ['--tune', '--time', '0s'], ['--tune', '--time', '20m']):
            assert '--t' in ctl(d, 'doctor', *bad, status=2).err
        assert 'model add' in ctl(d, *tune, status=1).err
        model = f'{DEMO}/{name}.gguf'
        if name == 'tiny':
            model = os.path.join(d.dir, 'tiny.gguf')
            subprocess.check_call([os.path.join(BUILD, 'tests/integration/make_tiny'), model])
        ctl(d, 'model', 'add', model)
        seen = doctor_row(d)
        assert seen['level'] == 'note' and 'not timed' in seen['seen'] and '--tune' in seen['fix'], seen
        r = ctl(d, *plan, '--json').json()
        assert 'step_ms' not in r and r['steps'] == [] and '--tune' in r['times'], r
        assert 'NEXT BEST' not in ctl(d, *plan).out

        r = ctl(d, *tune, status=None)
        m = re.search(name + r': (\d+) of (\d+) shapes timed in [\d.]+ s, 0 were known', r.err)
        assert m and int(m[1]) > 20, r.err
        is_whole = 'left for want of time' not in r.err  # not on a busy machine
        seen = doctor_row(d)
        assert seen['level'] == 'ok' and re.search(r'\d+ shapes timed .* ago on cpu .*: c.* thread.*; the fastest: [a-z]\w* \d+', seen['seen']), seen
        r = ctl(d, *plan, '--json').json()
        assert r['times'] == '' and r['step_ms'] > 0 and 2 <= len(r['steps']) <= 12, r
        times = [s['ms'] for s in r['steps']]
        assert times == sorted(times, reverse=True) and sum(times) <= r['step_ms'] * 1.001, r
        for s in r['steps']:
            assert s['threads'] >= 1 and s['count'] >= 1 and s['kernel'], s
        assert any('other_kernel' in s and s['other_ms'] > 0 for s in r['steps']), r
        text = ctl(d, *plan).out
        for part in ('a step', 'predicted', 'RUNS', 'NEXT BEST', 'xent', ' x '):
            assert part in text, text
        assert ctl(d, 'plan', '--search', '--samples', '1', '--recipe', 'length=64,epochs=1', status=5)

        # What is there is not timed again, what is damaged is told of once.
        r = ctl(d, *tune, status=None)
        again = int(re.search(fr'{name}: (\d+) of {m[2]} shapes timed', r.err)[1])
        assert again <= int(m[2]) - int(m[1]) and (again == 0 or not is_whole), r.err
        path = os.path.join(d.dir, 'd/kernel.times')
        for damage in (lambda b: b[:-1], lambda b: b[:300] + b'?' + b[301:], lambda b: b'', lambda b: b'x' * (3 << 20)):
            whole = open(path, 'rb').read()
            with open(path, 'wb') as f:
                f.write(damage(whole))
            first, second = (ctl(d, *plan, '--json').json() for _ in range(2))
            assert 'cannot be used' in first['times'] or 'not timed' in first['times'], first['times']
            assert 'not timed' in second['times'], second['times']
            assert 'step_ms' not in first and first['steps'] == [], first
            assert not os.path.exists(path) or damage(whole) == b'', os.listdir(os.path.dirname(path))
            with open(path, 'wb') as f:
                f.write(whole)
        with open(path, 'wb') as f:
            f.write(whole[:-1])
        r = ctl(d, *tune, status=None)
        assert 'cannot be used' in r.err and ': 0 of' not in r.err and f' of {m[2]} shapes timed' in r.err, r.err
        assert doctor_row(d)['level'] == 'ok'


def each_device_has_a_table_of_its_own():
    tune = ['doctor', '--tune', '--force', '--time', '4s']
    with Daemon() as d:
        if 'llvmpipe' not in doctor_row(d, 'devices')['seen']:
            return print('# skipped: no CPU plays a GPU here')
        ctl(d, 'model', 'add', f'{DEMO}/pock-16m-q8_0.gguf')
        ctl(d, 'policy', 'set', 'device=cpu')
        ctl(d, *tune)
        ctl(d, 'policy', 'set', 'device=vulkan:cpu')
        seen = doctor_row(d)
        assert seen['level'] == 'note' and 'not on this one' in seen['seen'], seen
        r = ctl(d, *tune)
        if not re.search(r'pock-16m-q8_0: 0 of', r.err):  # a busy machine
            seen = doctor_row(d)
            assert re.search(r' on vulkan .*, driver .* shaders .*; the fastest: [a-z]\w* \d+', seen['seen']), seen
        ctl(d, 'policy', 'set', 'device=cpu')
        assert ' on cpu' in doctor_row(d)['seen']


def searches_for_a_scheme_and_keeps_it():
    with Daemon() as d:
        ctl(d, 'model', 'add', f'{DEMO}/pock-16m-q8_0.gguf')
        assert 'data import' in ctl(d, 'plan', '--search', status=5).err
        ctl(d, 'data', 'import', f'{DEMO}/messages.jsonl')
        short = ['plan', '--search', '--samples', '4', '--recipe', 'length=64,epochs=1']
        for bad in (['--memory', 'much'], ['--time', '20'], ['--memory', '10'], ['--time', '0s'], ['--samples', '0'],
                    ['--svg', '-']):
            assert bad[0] in ctl(d, *short, *bad, status=2).err
        assert '--search' in ctl(d, 'plan', '--memory', '300M', status=2).err
        assert 'the smallest needs' in ctl(d, *short, '--memory', '1M', status=2).err
        assert ctl(d, 'scheme', 'list').out == ''

        r = ctl(d, *short, '--memory', '24M', '--time', '20m', '--save', 'evening')
        text = r.out
        for part in ('FOUND', 'gain', 'of what learning everything would gain', 'BLOCK', ' rank ', 'search'):
            assert part in text, text
        assert '--recipe scheme=@evening,memory_mib=' in r.err, r.err
        assert ctl(d, *short, '--save', 'wide', '-q').out == 'wide\n'
        listed = ctl(d, 'scheme', 'list', '--json').json()['schemes']
        assert [s['name'] for s in listed] == ['evening', 'wide'], listed
        assert ctl(d, 'scheme', 'list', '-q').out == 'evening\nwide\n'
        assert rows(ctl(d, 'scheme', 'list').out)[1][:2] == ['evening', 'pock-16m-q8_0']
        p = ctl(d, 'plan', '--recipe', 'length=64,scheme=@evening', '--json').json()
        assert p['recipe']['scheme'] == listed[0]['scheme'], p
        ctl(d, 'scheme', 'rm', 'evening')
        assert 'those saved are wide' in ctl(d, 'plan', '--recipe', 'scheme=@evening', status=5).err
        ctl(d, 'scheme', 'rm', 'evening', status=5)


def trains_watches_and_cancels():
    with Daemon() as d:
        ctl(d, 'model', 'add', f'{DEMO}/pock-16m-q8_0.gguf')
        ctl(d, 'data', 'import', f'{DEMO}/messages.jsonl')
        ctl(d, 'policy', 'set', 'disk_free_mib=64', 'disk_free_pct=0')
        ctl(d, 'train', 'now', '--recipe', 'rank=two', status=2)
        d.plug(False)
        r = pockd_rpc.wait_for('the refusal', 10, lambda: try_train(d))
        assert 'power' in r.err and '(CONDITIONS)' in r.err, r.err
        d.plug(True)
        pockd_rpc.wait_for('the plug', 10, lambda: 'power' not in
                           ctl(d, 'why', '-q', status=10).out.split())
        job = ctl(d, 'train', 'now', '-q', '--recipe', 'rank=2').out.strip()
        p = subprocess.Popen([POCKCTL, 'train', 'status', '--watch'], env=environment(d),
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert select.select([p.stderr], [], [], 60 * SLOW)[0], 'no line came'
        ctl(d, 'train', 'cancel')
        out, err = p.communicate(timeout=60 * SLOW)
        assert p.returncode == 1 and f'job {job} cancelled'.encode() in out, (p.returncode, out, err)
        assert err.startswith(f'job {job}: '.encode()) and b'\r' not in err, err
        h = ctl(d, 'train', 'history', '--json').json()['jobs']
        assert h[0]['state'] == 'cancelled', h
        assert ctl(d, 'train', 'status').out == ''


def try_train(d):
    r = subprocess.run([POCKCTL, 'train', 'now'], env=environment(d), capture_output=True,
                       timeout=60 * SLOW)
    if r.returncode == 0:
        ctl(d, 'train', 'cancel')
    return Result(r, r.stdout.decode(), r.stderr.decode()) if r.returncode == 7 else None


def follows_events_until_ctrl_c():
    with Daemon() as d:
        p = subprocess.Popen([POCKCTL, 'events', '--follow', '-n', '0', '--json'],
                             env=environment(d), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        time.sleep(0.3)
        ctl(d, 'policy', 'set', 'idle_s=90')
        assert select.select([p.stdout], [], [], 20 * SLOW)[0], 'no event came'
        event = json.loads(p.stdout.readline())
        assert event['schema'] == 1 and event['kind'], event
        p.send_signal(signal.SIGINT)
        _, err = p.communicate(timeout=20 * SLOW)
        assert p.returncode == 130 and err == b'', (p.returncode, err)


def watches_the_status_as_json_lines():
    with Daemon() as d:
        p = subprocess.Popen([POCKCTL, 'status', '--watch'], env=environment(d),
                             stdout=subprocess.PIPE)
        assert select.select([p.stdout], [], [], 20 * SLOW)[0], 'no status came'
        assert json.loads(p.stdout.readline())['state']
        p.send_signal(signal.SIGINT)
        p.communicate(timeout=20 * SLOW)
        assert p.returncode == 130, p.returncode


def is_quiet_when_its_reader_goes_away():
    with Daemon() as d:
        ctl(d, 'data', 'import', f'{DEMO}/notebook.jsonl', f'{DEMO}/messages.jsonl')
        p = subprocess.Popen(['sh', '-c', f'{POCKCTL} data export | head -1'], env=environment(d),
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             preexec_fn=lambda: signal.signal(signal.SIGPIPE, signal.SIG_DFL))
        out, err = p.communicate(timeout=60 * SLOW)
        assert out.count(b'\n') == 1 and b'cannot write' not in err, err
        with open('/dev/full', 'w') as full:
            r = subprocess.run([POCKCTL, 'why', '--no-header'], env=environment(d), stdout=full,
                               stderr=subprocess.PIPE, timeout=60 * SLOW)
        assert r.returncode != 0 and b'cannot write the output' in r.stderr, r.stderr


def colours_on_a_terminal_only_and_not_with_no_color():
    def on_terminal(**more):
        pid, fd = pty.fork()
        if pid == 0:
            os.environ.update(environment(d), **more)
            os.execv(POCKCTL, [POCKCTL, 'why'])
        out = b''
        while True:
            try:
                chunk = os.read(fd, 65536)
            except OSError:
                break
            if not chunk:
                break
            out += chunk
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 10
        os.close(fd)
        return out

    with Daemon() as d:
        assert b'\x1b[3' in on_terminal()
        assert b'\x1b' not in on_terminal(NO_COLOR='1')
        assert b'\x1b' not in on_terminal(TERM='dumb')
        assert '\x1b' not in ctl(d, 'why', status=10).out
        assert '\x1b[3' in ctl(d, 'why', '--color', 'always', status=10).out


def shows_frames_when_asked_to():
    with Daemon() as d:
        r = ctl(d, 'status', '-q', '--debug')
        assert '-> ' in r.err and '"hello"' in r.err and '<- ' in r.err, r.err


def gives_up_on_a_daemon_that_does_not_answer():
    with Daemon() as d:
        d.proc.send_signal(signal.SIGSTOP)
        try:
            r = ctl(d, 'status', '--timeout', '0.2', status=8)
            assert '(TIMEOUT)' in r.err, r.err
        finally:
            d.proc.send_signal(signal.SIGCONT)


if __name__ == '__main__':
    pockd_rpc.main([
    says_that_no_daemon_runs_and_exits_3,
    explains_wrong_usage_and_exits_2,
    imports_once_however_often,
    masks_what_is_secret_and_says_so,
    reports_bad_lines_and_takes_the_rest,
    names_the_record_that_the_daemon_refuses,
    shows_a_plan_and_changes_nothing_on_a_dry_run,
    exports_what_it_can_import_again,
    tells_gates_status_and_policy,
    edits_the_policy_in_an_editor,
    inhibits_training_while_a_command_runs,
    refuses_what_needs_a_model_with_status_5,
    takes_a_directory_as_a_model,
    converts_models_both_ways,
    keeps_what_the_daemon_cannot_read,
    refuses_sets_of_files_that_lead_away,
    names_what_is_no_model,
    asks_a_model_and_cancels,
    shows_what_a_job_would_take_and_draws_it,
    lists_devices_and_which_is_used,
    times_kernels_and_plans_by_them,
    each_device_has_a_table_of_its_own,
    searches_for_a_scheme_and_keeps_it,
    trains_watches_and_cancels,
    follows_events_until_ctrl_c,
    watches_the_status_as_json_lines,
    is_quiet_when_its_reader_goes_away,
    colours_on_a_terminal_only_and_not_with_no_color,
    shows_frames_when_asked_to,
    gives_up_on_a_daemon_that_does_not_answer,
])
