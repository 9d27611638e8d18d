#!/usr/bin/env python3
# SPDX-FileCopyrightText: the pockd authors
# SPDX-License-Identifier: Apache-2.0
"""What cannot be done is told in a sentence, and the next request is served."""
import json
import os
import signal
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from pockd_rpc import BUILD, Client, Daemon, RpcError, main, wait_for  # noqa: E402
from test_pockd_adapters import refused, trained  # noqa: E402
from test_pockd_train import RECIPE, night, records, wait_end, worker_pid  # noqa: E402

LONG = {'prompt': 'bee', 'max_tokens': 1000}


def says(words, said):
    assert words in said, '"%s" does not say "%s"' % (said, words)


def short(d, **kw):
    return d.c.call('gen.start', **dict({'prompt': 'bee', 'max_tokens': 8, 'temperature': 0}, **kw))


def wait_until_asked(d):
    """What was sent is in the worker's socket: the loop has come around, and the store's thread too."""
    for _ in range(3):
        d.client().call('data.count')


def open_fd(d, name, data=b''):
    path = os.path.join(d.dir, name)
    with open(path, 'wb') as f:
        f.write(data)
    return os.open(path, os.O_RDONLY)


def a_worker_that_dies_while_it_answers_costs_that_answer():
    with night() as d:
        before = short(d, adapter='none')['text']
        os.kill(worker_pid(d), signal.SIGSTOP)
        id = d.c.send('gen.start', prompt='bee', adapter='none')
        wait_until_asked(d)
        os.kill(worker_pid(d), signal.SIGKILL)
        try:
            raise AssertionError(d.c.wait(id))
        except RpcError as e:
            assert e.name == 'DEVICE' and 'SIGKILL' in e.msg, e
        says('event=serve_worker_died', d.text())
        assert short(d, adapter='none')['text'] == before
        # One that ends while nobody asks is missed by nobody.
        os.kill(worker_pid(d), signal.SIGKILL)
        wait_for('its end', 30, lambda: worker_pid(d) is None)
        assert short(d, adapter='none')['text'] == before


def answers_have_limits():
    with night() as d:
        for stop in ([''], ['x' * 64], ['a\0b'], ['x'] * 9):
            says('at most 8 texts of 1 to 63 bytes', refused(d, 'BAD_PARAMS', 'gen.start', stop=stop, **LONG))
        for wrong in ({'temperature': 11.0}, {'temperature': -0.1}, {'top_p': 0.0}, {'top_p': 1.5}):
            says('temperature must be', refused(d, 'BAD_PARAMS', 'gen.start', **dict(LONG, **wrong)))
        whole = short(d, adapter='none', max_tokens=40)
        assert whole['finish'] != 'stop' and len(whole['text']) > 8, whole
        part = whole['text'][4:6]
        cut = short(d, adapter='none', max_tokens=40, stop=['never said', part])
        assert cut['finish'] == 'stop' and part not in cut['text'] and whole['text'].startswith(cut['text']), (cut, whole)
        # Anything may come of a small model, and is text all the same.
        for seed in range(20):
            wild = d.c.call('gen.start', adapter='none', prompt='bee', max_tokens=60, temperature=10.0, top_p=1.0, seed=seed)
            if '\ufffd' in wild['text']:
                break
        assert '\ufffd' in wild['text'], wild
        # Those that wait are not without number, and all are answered.
        os.kill(worker_pid(d), signal.SIGSTOP)
        c = d.client()
        ids = [c.send('gen.start', prompt='bee', max_tokens=8, temperature=0, adapter='none') for _ in range(36)]
        for id in ids[32:]:
            try:
                raise AssertionError(c.wait(id))
            except RpcError as e:
                assert e.name == 'BUSY' and 'too many questions' in e.msg, e
        os.kill(worker_pid(d), signal.SIGCONT)
        assert len({c.wait(id)['text'] for id in ids[:32]}) == 1


def a_question_that_has_no_answer_says_why():
    with night() as d:
        ask = lambda code, **kw: refused(d, code, 'gen.start', **dict({'prompt': 'bee', 'max_tokens': 4}, **kw))  # noqa: E731
        says('exactly one of prompt and messages', refused(d, 'BAD_PARAMS', 'gen.start'))
        says('there is no adapter nope', ask('NOT_FOUND', adapter='nope'))
        says('there is no adapter default', ask('NOT_FOUND', version=1))
        says('there is no model nope', ask('NOT_FOUND', model='nope'))
        says('exactly one of texts, pairs and heldout', refused(d, 'BAD_PARAMS', 'score', texts=['a'], heldout=True))
        says('no held-out records', refused(d, 'NOT_FOUND', 'score', heldout=True))
        trained(d)
        trained(d, start=500)
        says('has no version 7', ask('NOT_FOUND', version=7))
        says('belongs to model tiny, not to other', ask('BAD_PARAMS', adapter='default', model='other'))
        d.c.call('adapter.delete', adapter='default', version=1)
        says('retired: deleted by the owner', ask('ERASED', version=1))
        says('retired: deleted by the owner', refused(d, 'ERASED', 'adapter.export', adapter='default', version=1,
                                                      format='gguf', fd=os.open(os.path.join(d.dir, 'out'), os.O_RDWR | os.O_CREAT)))
        d.c.call('adapter.rollback', adapter='default')
        says('has no active version', ask('NO_ADAPTER', adapter='default'))
        assert short(d)['tokens'] > 0  # asked without a name, the base model answers
        assert d.c.call('model.show', model='tiny')['adapters'] == ['default']
        says('adapter', refused(d, 'CONFLICT', 'model.remove', model='tiny'))
        os.rename(d.model, d.model + '.away')
        says('is not at', ask('NO_MODEL'))
        says('cannot open', d.c.call('model.show', model='tiny', details=True)['why'])
        os.rename(d.model + '.away', d.model)
        assert short(d)['tokens'] > 0


def what_is_cancelled_leaves_nothing():
    with night(model=False) as d:
        # Long enough for its hash to take a while.
        big = os.path.join(d.dir, 'big.gguf')
        with open(d.model, 'rb') as f, open(big, 'wb') as out:
            out.write(f.read())
            out.truncate(1 << 30)
        ended = []
        for ms in (0, 1, 3, 10, 30, 100):
            for copy in (False, True):
                id = d.c.send('model.add', path=big, copy=copy, stream=True)
                time.sleep(ms / 1000)
                d.c.notify('$/cancel', id=id)
                try:
                    ended.append(d.c.wait(id))
                except RpcError as e:
                    ended.append(e.name)
        assert ended.count('CANCELLED') >= 6, ended
        wait_for('the copies to be gone', 30, lambda: not os.listdir(os.path.join(d.dir, 'd/tmp')))
        wait_for('the workers to be gone', 30, lambda: worker_pid(d) is None)
        assert not d.c.call('model.list')['models'] or 'CANCELLED' not in ended[-2:], ended
        assert d.c.call('model.add', path=d.model)['model']['name'] == 'tiny'


def files_that_cannot_be_written_are_told_of():
    with night() as d:
        converted = lambda flags, data=b'': refused(  # noqa: E731
            d, 'BAD_PARAMS', 'model.convert', fd=os.open(open_path(d, data), flags))
        d.c.call('model.file', name='tiny.gguf', fd=os.open(d.model, os.O_RDONLY))
        says('open for reading and writing', converted(os.O_RDONLY))
        d.c.call('model.file', name='tiny.gguf', fd=os.open(d.model, os.O_RDONLY))
        says('is not empty', converted(os.O_RDWR, b'x'))
        says('regular file or a pipe', refused(d, 'BAD_PARAMS', 'data.export', fd=os.open('/dev/null', os.O_WRONLY)))
        says('open for writing', refused(d, 'BAD_PARAMS', 'data.export', fd=os.open(d.model, os.O_RDONLY)))
        says('64 hex digits', refused(d, 'BAD_PARAMS', 'archive.import', trust='x' * 64, fd=os.open(d.model, os.O_RDONLY)))
        r, w = os.pipe()
        os.close(r)
        d.c.call('data.put_many', records=records(60), create_stream=True)
        says('cannot write: Broken pipe', refused(d, 'DEVICE', 'data.export', fd=w))


def open_path(d, data):
    path = os.path.join(d.dir, 'some')
    with open(path, 'wb') as f:
        f.write(data)
    return path


def jobs_that_wait_can_be_held_and_hurried():
    with night() as d:
        d.plug(False)
        d.c.call('data.put_many', records=records(40), create_stream=True)
        job = d.c.call('train.start')['job']['id']
        d.c.call('train.pause', job=job)
        # It may have begun before anybody saw that the power is gone.
        wait_for('its rest', 30, lambda: d.c.call('train.status', job=job)['jobs'][0]['state'] == 'paused')
        d.plug(True)
        assert not d.c.call('why')['would_run']
        d.c.call('train.resume', job=job)
        wait_for('its start', 30, lambda: d.c.call('train.status', job=job)['jobs'][0]['state'] == 'running')
        # Asked for now it is the same job, not another one.
        assert d.c.call('train.start', now=True)['job']['id'] == job
        for n in range(40):
            try:
                d.c.call('train.start', recipe={'seed': n + 1})
            except RpcError as e:
                assert e.name == 'QUOTA' and 'jobs already' in e.msg, e
                break
        else:
            raise AssertionError('jobs are queued without end')
        says('does not exist', refused(d, 'NOT_FOUND', 'train.pause', job=999))
        try:
            d.c.call('train.cancel', job=job)
        except RpcError as e:
            assert e.name == 'NOT_FOUND' and 'has ended' in e.msg, e # it was quick
        # A program that asks for quiet and thinks better of it.
        id = d.c.send('inhibit.acquire', who='make')
        d.c.notify('$/cancel', id=id)
        try:
            d.c.call('inhibit.release', token=d.c.wait(id)['token'])
        except RpcError as e:
            assert e.name == 'CANCELLED', e
        assert d.c.call('status')['inhibitors'] == []


def more_adapters_than_are_held_answer_as_each_alone():
    with night() as d:
        trained(d)
        trained(d, start=500)
        names = []
        for i in range(6):
            d.c.call('adapter.merge', adapter='sum%d' % i, parts=[
                {'adapter': 'default', 'version': 1, 'weight': 1.5 * i}, {'adapter': 'default', 'version': 2, 'weight': 2.0 - i}])
            names.append('sum%d' % i)
        first = [short(d, adapter=n, version=1, max_tokens=24)['text'] for n in names]
        assert len(set(first)) > 1, first
        again = [short(d, adapter=n, version=1, max_tokens=24)['text'] for n in reversed(names)]
        assert again == first[::-1], (first, again)


def sums_that_make_no_sense_are_refused():
    with night() as d:
        trained(d)
        one = {'adapter': 'default', 'version': 1}
        merge = lambda name, parts, **kw: refused(d, name, 'adapter.merge', parts=parts, **kw)  # noqa: E731
        says('2 to', merge('BAD_PARAMS', [one]))
        says('2 to', merge('BAD_PARAMS', [one] * 100))
        says('no version -1', merge('BAD_PARAMS', [one, dict(one, version=-1)]))
        says('give each version a weight', merge('BAD_PARAMS', [one, dict(one, weight=0.5)]))
        says('give each version a weight', merge('BAD_PARAMS', [dict(one, weight=1e9), dict(one, weight=0.5)]))
        says('a name has letters', merge('BAD_PARAMS', [one, one], adapter='none'))
        says('there is no adapter other', merge('NOT_FOUND', [one, {'adapter': 'other'}]))
        says('has no version 7', merge('NOT_FOUND', [one, dict(one, version=7)]))
        trained(d, start=500)
        d.c.call('adapter.delete', adapter='default', version=1)
        says('retired: deleted by the owner', merge('ERASED', [one, dict(one, version=2)]))
        d.c.call('adapter.rollback', adapter='default')
        says('has no active version', merge('NO_ADAPTER', [{'adapter': 'default'}, dict(one, version=2)]))
        assert [a['name'] for a in d.c.call('adapter.list')['adapters']] == ['default']


def what_is_no_adapter_is_not_taken():
    with night() as d:
        fd = open_fd(d, 'some', b'GGUF' + bytes(60))
        take = lambda name, **kw: refused(d, name, 'adapter.import', **dict({'fd': fd, 'adapter': 'x'}, **kw))  # noqa: E731
        says('a name has letters', take('BAD_PARAMS', adapter='none'))
        says('gguf or peft-weights', take('BAD_PARAMS', format='zip'))
        says('config goes with format peft-weights', take('BAD_PARAMS', config='{}'))
        says('config goes with format peft-weights', take('BAD_PARAMS', format='peft-weights'))
        says('nope', take('NOT_FOUND', model='nope'))
        says('is empty', take('BAD_PARAMS', fd=open_fd(d, 'empty')))
        assert take('BAD_PARAMS') and take('BAD_PARAMS', format='peft-weights', config='{}')
        trained(d)
        says('belongs to model tiny, not other', take('CONFLICT', adapter='default', model='other'))
        d.c.call('adapter.delete', adapter='default')
        d.c.call('model.remove', model='tiny')
        says('pockctl model add', take('NO_MODEL'))
        assert d.c.call('adapter.list')['adapters'] == []


def models_are_named_and_checked():
    with night(model=False) as d:
        add = lambda code, **kw: refused(d, code, 'model.add', **kw)  # noqa: E731
        says('is not absolute', add('BAD_PARAMS', path='tiny.gguf'))
        says('no . first', add('BAD_PARAMS', path=d.model, name='.x'))
        says('is another file', add('CONFLICT', path=d.model, sha256='0' * 64))
        says('cannot open', add('NOT_FOUND', path='/nonexistent.gguf'))
        fifo = os.path.join(d.dir, 'fifo')
        os.mkfifo(fifo)
        says('must be a regular file', add('BAD_PARAMS', path=fifo))
        # Another file's hash leaves nothing behind, a copy neither.
        says('is another file', add('CONFLICT', path=d.model, sha256='0' * 64, copy=True))
        wait_for('the copy to be gone', 10, lambda: not os.listdir(os.path.join(d.dir, 'd/tmp')))
        assert d.c.call('model.list')['models'] == []
        odd = os.path.join(d.dir, 'my bees (2)-00001-of-00001.gguf')
        os.link(d.model, odd)
        m = d.c.call('model.add', path=odd)
        assert m['new'] and m['model']['name'] == 'my-bees--2-', m
        # Elsewhere now, it is the same model.
        moved = os.path.join(d.dir, 'moved.gguf')
        os.rename(odd, moved)
        m = d.c.call('model.add', path=moved, chat_format='chatml')
        assert not m['new'] and m['model']['name'] == 'my-bees--2-' and m['model']['path'] == moved, m
        # Another of that name must not take its place.
        other = os.path.join(d.dir, 'other.gguf')
        subprocess.check_call([os.path.join(BUILD, 'tests/integration/make_tiny'), other])
        with open(other, 'r+b') as f:
            f.seek(-1, 2)
            last = f.read(1)[0]
            f.seek(-1, 2)
            f.write(bytes([last ^ 1]))
        says('give another --name', add('EXISTS', path=other, name='my-bees--2-'))
        assert d.c.call('model.add', path=other)['model']['name'] == 'other'


def hooks_that_hang_or_babble_hold_up_nothing():
    with night() as d:
        script, pids = os.path.join(d.dir, 'hang'), os.path.join(d.dir, 'pids')
        with open(script, 'w') as f:
            f.write('#!/bin/sh\necho $$ >> %s\nexec sleep 1000\n' % pids)
        os.chmod(script, 0o700)
        path = os.path.join(d.dir, 'server')
        server = socket.socket(socket.AF_UNIX)
        server.bind(path)
        server.listen(8)
        d.c.call('policy.set', values={'reload_url': 'unix:' + path, 'reload_command': json.dumps([script])})

        def told(n):
            return wait_for('%d events' % n, 60, lambda: (lambda e: e if len(e) == n else None)(
                [e['text'] for e in d.c.call('events.watch')['events'] if e['kind'] == 'reload_failed']))
        try:
            trained(d)
            # Nobody answers.
            says('did not answer in time', told(1)[0])
            server.accept()[0].close()
            d.c.call('adapter.rollback', adapter='default')
            c = server.accept()[0]
            c.recv(4096)
            c.sendall(b'hello\r\n')
            says('its answer is not HTTP', told(2)[1])
            c.close()
            d.c.call('policy.set', values={'reload_url': 'http://[::1]:1'})
            d.c.call('adapter.activate', adapter='default', version=1, force=True)
            says('http://[::1]:1 was not told', told(3)[2])
            # The commands are still at it, and are left alone.
            wait_for('three commands', 10, lambda: len(open(pids).readlines()) == 3)
            assert d.stop() == 0
        finally:
            for line in open(pids) if os.path.exists(pids) else ():
                os.kill(int(line), signal.SIGKILL)
            server.close()


def what_a_job_did_can_be_read_afterwards():
    with night() as d:
        trained(d)
        trained(d, start=500)
        got = d.c.call('train.status', job=1, curve=True)
        steps = [p['step'] for p in got['curve']]
        assert len(steps) > 2 and steps == sorted(set(steps)), steps
        assert any('loss' in p for p in got['curve']) and any('heldout' in p for p in got['curve']), got['curve']
        page = d.c.call('train.history', limit=1)
        assert [j['id'] for j in page['jobs']] == [2] and page['next'] == 2, page
        page = d.c.call('train.history', limit=1, cursor=page['next'], adapter='default')
        assert [j['id'] for j in page['jobs']] == [1] and 'next' not in page, page
        says('no adapter nope', refused(d, 'NOT_FOUND', 'train.history', adapter='nope'))
        says('no job 7', refused(d, 'NOT_FOUND', 'train.status', job=7, curve=True))


def the_program_explains_itself():
    pockd = os.path.join(BUILD, 'daemon/pockd')
    run = lambda *a: subprocess.run([pockd] + list(a), capture_output=True, text=True, timeout=60)  # noqa: E731
    p = run('--help')
    assert p.returncode == 0 and '--dir' in p.stdout and 'min_records' in p.stdout, p
    p = run('--version')
    assert p.returncode == 0 and p.stdout.startswith('pockd '), p
    p = subprocess.run([pockd, '--user'], capture_output=True, text=True, timeout=60, env={'PATH': '/bin'})
    assert p.returncode != 0 and 'HOME' in p.stderr and '--dir' in p.stderr, p
    with Daemon() as d:
        d.stop()
        conf = os.path.join(d.dir, 'd/pockd.conf')
        with open(conf, 'w') as f:
            f.write('#' * (1 << 21))
        p = subprocess.run(d.command(), env=d.env, capture_output=True, text=True, timeout=60)
        assert p.returncode != 0 and 'larger than' in p.stderr, p
        os.unlink(conf)
        p = subprocess.run(d.command(), env=dict(d.env, POCKD_THREADS='many'), capture_output=True, text=True, timeout=60)
        assert p.returncode != 0 and 'POCKD_THREADS' in p.stderr, p
        d.start()


if __name__ == '__main__':
    main([
        a_worker_that_dies_while_it_answers_costs_that_answer,
        answers_have_limits,
        a_question_that_has_no_answer_says_why,
        what_is_cancelled_leaves_nothing,
        files_that_cannot_be_written_are_told_of,
        jobs_that_wait_can_be_held_and_hurried,
        more_adapters_than_are_held_answer_as_each_alone,
        sums_that_make_no_sense_are_refused,
        what_is_no_adapter_is_not_taken,
        models_are_named_and_checked,
        hooks_that_hang_or_babble_hold_up_nothing,
        what_a_job_did_can_be_read_afterwards,
        the_program_explains_itself,
    ])
