#!/usr/bin/env python3
# SPDX-FileCopyrightText: the pockd authors
# SPDX-License-Identifier: Apache-2.0
"""What a real pockd does with adapters beyond a night: hooks, sums, chat formats."""
import hashlib
import json
import os
import socket
import stat
import sys
import tempfile
import threading

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from pockd_rpc import RpcError, main, wait_for  # noqa: E402
from test_pockd_train import RECIPE, night, records, wait_end  # noqa: E402


class Listener:
    """Answers every connection with one status, and keeps what it was asked."""

    def __init__(self, family, address, status):
        self.asked, self.status = [], status
        self.s = socket.socket(family, socket.SOCK_STREAM)
        self.s.bind(address)
        self.s.listen(8)
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                c, _ = self.s.accept()
            except OSError:
                return
            data = b''
            while b'\r\n\r\n' not in data or len(data.split(b'\r\n\r\n', 1)[1]) < self.length(data):
                more = c.recv(4096)
                if not more:
                    break
                data += more
            self.asked.append(data.decode())
            c.sendall(b'HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n' % self.status)
            c.close()

    @staticmethod
    def length(data):
        for line in data.split(b'\r\n'):
            if line.lower().startswith(b'content-length:'):
                return int(line.split(b':')[1])
        return 0


def events(d, *kinds):
    return [e for e in d.c.call('events.watch')['events'] if e['kind'] in kinds]


def wait_events(d, n, *kinds):
    return wait_for('%d events of %s' % (n, kinds), 30,
                    lambda: (lambda e: e if len(e) >= n else None)(events(d, *kinds)))


def refused(d, name, method, /, **params):
    try:
        d.c.call(method, **params)
    except RpcError as e:
        assert e.name == name, e
        return str(e)
    raise AssertionError('%s was not refused' % method)


def trained(d, name='default', start=0):
    d.c.call('data.put_many', records=records(60, start, 'from-' + name), create_stream=True)
    job = d.c.call('train.start', adapter=name, streams=['from-' + name], recipe=RECIPE)['job']['id']
    end = wait_end(d, job)
    assert end['state'] == 'done', end
    return end['version']


def a_server_and_a_command_are_told_of_a_version():
    with night() as d:
        path = os.path.join(d.dir, 'llama.sock')
        server = Listener(socket.AF_UNIX, path, 200)
        said = os.path.join(d.dir, 'said')
        script = os.path.join(d.dir, 'hook')
        with open(script, 'w') as f:
            f.write('#!/bin/sh\necho "$#:$*" >> %s\n' % said)
        os.chmod(script, stat.S_IRWXU)
        d.c.call('policy.set', values={'reload_url': 'unix:' + path, 'reload_id': 3, 'reload_scale': 0.5,
                                       'reload_command': json.dumps([script, '-q'])})
        trained(d)
        told = wait_events(d, 2, 'reloaded', 'reload_failed')
        assert [e['kind'] for e in told] == ['reloaded', 'reloaded'], told
        head, body = server.asked[0].split('\r\n\r\n')
        assert head.startswith('POST /lora-adapters HTTP/1.1\r\n'), head
        assert json.loads(body) == [{'id': 3, 'scale': 0.5}], body
        with open(said) as f:
            assert f.read() == '3:-q default 1\n'
        d.c.call('adapter.rollback', adapter='default')
        wait_events(d, 4, 'reloaded')
        assert json.loads(server.asked[1].split('\r\n\r\n')[1]) == [{'id': 3, 'scale': 0}]
        with open(said) as f:
            assert f.read().endswith('3:-q default 0\n')
        # Of another adapter nobody is told.
        d.c.call('policy.set', values={'reload_name': 'other'})
        d.c.call('adapter.activate', adapter='default', version=1, force=True)
        assert len(server.asked) == 2 and len(events(d, 'reloaded')) == 4


def a_hook_that_fails_is_an_event_and_no_failed_job():
    with night() as d:
        server = Listener(socket.AF_INET, ('127.0.0.1', 0), 400)
        d.c.call('policy.set', values={'reload_url': 'http://127.0.0.1:%d' % server.s.getsockname()[1],
                                       'reload_command': '["/bin/false"]'})
        trained(d)
        texts = sorted(e['text'] for e in wait_events(d, 2, 'reload_failed'))
        assert 'ended with status 1' in texts[0] and '/bin/false' in texts[0], texts
        assert 'status 400' in texts[1], texts
        assert json.loads(server.asked[0].split('\r\n\r\n')[1]) == [{'id': 0, 'scale': 1}]
        server.s.close()
        d.c.call('policy.set', values={'reload_url': 'unix:/nowhere/x', 'reload_command': '["/nowhere/y"]'})
        d.c.call('adapter.rollback', adapter='default')
        texts = [e['text'] for e in wait_events(d, 4, 'reload_failed')][2:]
        assert all('no such file' in t for t in texts), texts
        assert not events(d, 'reloaded')


def only_this_machine_is_spoken_to():
    with night() as d:
        for url in ('http://example.org', 'http://10.0.0.1:8080', 'https://127.0.0.1', 'http://127.0.0.1.example.org',
                    'http://localhost:8080@example.org', 'http://127.0.0.1:99999', 'http://127.0.0.1:8080/x', 'unix:x'):
            said = refused(d, 'BAD_PARAMS', 'policy.set', values={'reload_url': url})
            assert 'nobody outside this machine' in said, said
        for command in ('reload', '[]', '["reload"]', '[1]', '{"a":1}'):
            refused(d, 'BAD_PARAMS', 'policy.set', values={'reload_command': command})
        keys = {k['key']: k for k in d.c.call('policy.get')['policy']}
        assert keys['reload_url']['value'] == '' and keys['reload_command']['value'] == ''


def merged_versions_go_with_the_records_of_their_parts():
    with night() as d:
        trained(d, 'a')
        trained(d, 'b', 1000)
        m = d.c.call('adapter.merge', adapter='both', rank=4,
                     parts=[{'adapter': 'a', 'weight': 0.7}, {'adapter': 'b', 'version': 1, 'weight': 0.3}])
        v = m['version']
        assert v['origin'] == 'merged' and v['rank'] == 4 and v['gate'] == 'none', v
        assert m['left_out'] < 1e-6, m
        show = d.c.call('adapter.show', adapter='both', version=1)
        assert [(p['adapter'], p['version'], p['weight']) for p in show['merged_from']] == [('a', 1, 0.7), ('b', 1, 0.3)]
        assert {s['name'] for s in show['streams']} == {'from-a', 'from-b'}, show
        short = d.c.call('adapter.merge', adapter='both', parts=[{'adapter': 'a'}, {'adapter': 'b'}])
        assert 0 < short['left_out'] < 1 and short['version']['version'] == 2, short
        refused(d, 'CONFLICT', 'adapter.activate', adapter='both', version=1)
        d.c.call('adapter.activate', adapter='both', version=1, force=True)
        assert d.c.call('gen.start', adapter='both', prompt='bee', max_tokens=4, seed=1)['version'] == 1
        # Even when its parts are gone.
        d.c.call('adapter.delete', adapter='b')
        ids = [r['id'] for r in d.c.call('data.list', stream='from-b', limit=1)['records']]
        gone = d.c.call('data.erase', ids=ids)['used_by']
        assert {(u['adapter'], u['version']) for u in gone} == {('both', 1), ('both', 2)}, gone
        assert all(u['merged_again'] for u in gone), gone
        # And come back without it.
        wait_for('the sums of what is left', 30, lambda: len(
            d.c.call('adapter.show', adapter='both')['adapter']['versions']) == 4)
        a = d.c.call('adapter.show', adapter='both')['adapter']
        assert [x['state'] for x in a['versions']] == ['retired', 'retired', 'active', 'kept'], a
        for number in (3, 4):
            of = d.c.call('adapter.show', adapter='both', version=number)['merged_from']
            assert [(p['adapter'], p['version']) for p in of] == [('a', 1)], of
        said = refused(d, 'ERASED', 'adapter.merge', parts=[{'adapter': 'a'}, {'adapter': 'both', 'version': 1}])
        assert 'erased' in said, said


def differences_are_told_block_by_block():
    with night() as d:
        trained(d, 'a')
        trained(d, 'b', 1000)
        x = d.c.call('adapter.diff', parts=[{'adapter': 'a'}, {'adapter': 'b'}])
        assert [r['block'] for r in x['rows']] == list(range(len(x['rows']))) and x['b']['version'] == 1, x
        assert abs(sum(r['norm_a'] ** 2 for r in x['rows']) - x['all']['norm_a'] ** 2) < 1e-9
        same = d.c.call('adapter.diff', linears=True, parts=[{'adapter': 'a'}, {'adapter': 'a'}])
        assert abs(same['all']['cosine'] - 1) < 1e-9 and same['all']['distance'] < 1e-6, same
        assert {r['linear'] for r in same['rows']} == set('q k v o gate up down'.split())
        refused(d, 'NOT_FOUND', 'adapter.diff', parts=[{'adapter': 'a'}, {'adapter': 'c'}])


def a_merged_model_is_of_the_type_asked_for():
    with night() as d:
        trained(d)
        sizes = {}
        for type in ('f32', 'f16', 'same', 'bf16'):
            with tempfile.TemporaryFile() as f:
                x = d.c.call('adapter.export', fd=f.fileno(), adapter='default', format='merged', type=type)
                f.seek(0)
                data = f.read()
                assert hashlib.sha256(data).hexdigest() == x['sha256'] and x['base'] == d.model, x
                assert x['ollama'].startswith('TEMPLATE """') and 'PARAMETER stop "<|end|>"' in x['ollama'], x
                sizes[type] = len(data)
        assert sizes['f16'] == sizes['bf16'] < sizes['f32'] == sizes['same'], sizes
        for params in ({'format': 'merged', 'type': 'q9'}, {'format': 'gguf', 'type': 'f16'}):
            with tempfile.TemporaryFile() as f:
                try:
                    d.c.call('adapter.export', fd=f.fileno(), adapter='default', **params)
                    raise AssertionError(params)
                except RpcError as e:
                    assert e.name == 'BAD_PARAMS' and 'type' in str(e), e


def records_are_shown_as_the_model_sees_them():
    with night() as d:
        id = d.c.call('data.put', create_stream=True, record={
            'uid': b'0' * 16, 'kind': 'pair', 'stream': 's', 'time': 1, 'prompt': 'open?', 'completion': 'no'})['id']

        def shown(**params):
            r = d.c.call('data.mask', ids=[id], **params)['records'][0]
            assert sum(p['tokens'] for p in r['parts']) == r['tokens'], r
            assert sum(p['tokens'] for p in r['parts'] if p['counts']) == r['learned'], r
            return ''.join('{%s}' % p['text'] if p['counts'] else p['text'] for p in r['parts'])
        assert shown() == '<|endoftext|><|user|>open?<|end|><|assistant|>{no}{<|end|>}', shown()
        assert shown(loss_on='user') == '<|endoftext|><|user|>{open?}{<|end|>}<|assistant|>no<|end|>'
        d.c.call('policy.set', values={'train_loss_on': 'all'})
        assert shown() == '<|endoftext|><|user|>{open?}{<|end|>}<|assistant|>{no}{<|end|>}'
        refused(d, 'BAD_PARAMS', 'policy.set', values={'train_loss_on': 'nobody'})
        refused(d, 'NOT_FOUND', 'data.mask', ids=[77])


def the_owner_names_the_chat_format():
    with night() as d:
        assert d.c.call('model.list')['models'][0]['chat'] == 'pock'
        said = refused(d, 'BAD_PARAMS', 'model.set', model='tiny', chat_format='latin')
        assert 'chatml' in said, said
        r = d.c.call('model.set', model='tiny', chat_format='chatml')
        assert r['model']['chat'] == 'chatml' and r['model']['chat_of_file'] == 'pock', r
        assert '<|im_start|>' in r['remark'], r
        chat = [{'role': 'user', 'content': 'hi'}]
        refused(d, 'DEVICE', 'gen.start', messages=chat, max_tokens=2)
        r = d.c.call('model.set', model='tiny', chat_format='auto')
        assert r['model']['chat'] == 'pock' and 'remark' not in r, r
        # The worker that serves loads it anew.
        d.c.call('gen.start', messages=chat, max_tokens=2, seed=1)
        d.c.call('model.set', model='tiny', chat_format='none')
        said = refused(d, 'DEVICE', 'gen.start', messages=chat, max_tokens=2)
        assert 'for texts only' in said, said


if __name__ == '__main__':
    main([
        a_server_and_a_command_are_told_of_a_version,
        a_hook_that_fails_is_an_event_and_no_failed_job,
        only_this_machine_is_spoken_to,
        merged_versions_go_with_the_records_of_their_parts,
        differences_are_told_block_by_block,
        a_merged_model_is_of_the_type_asked_for,
        records_are_shown_as_the_model_sees_them,
        the_owner_names_the_chat_format,
    ])
