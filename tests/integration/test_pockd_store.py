#!/usr/bin/env python3
# SPDX-FileCopyrightText: the pockd authors
# SPDX-License-Identifier: Apache-2.0
"""What was acknowledged stays, whatever happens to pockd or its disk."""
import hashlib
import os
import random
import sqlite3
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from pockd_rpc import Daemon, RpcError, main, wait_for  # noqa: E402


def record(i, text=None, **kw):
    return dict({'uid': hashlib.sha256(b'%d' % i).digest()[:16], 'kind': 'text', 'stream': 'notes',
                 'time': 1700000000000 + i, 'text': text or 'note %d' % i}, **kw)


def fails(name, fn):
    try:
        r = fn()
    except RpcError as e:
        assert e.name == name, '%s instead of %s: %s' % (e.name, name, e)
        return e
    raise AssertionError('it worked, but should be %s: %r' % (name, r))


def what_was_acknowledged_survives_kill_9():
    acked = 0
    d = Daemon()
    with d:
        for round in range(6):
            c = d.client()
            ids = []
            end = time.time() + random.Random(round).uniform(0.02, 0.2)
            try:
                while time.time() < end:
                    ids.append((c.send('data.put_many', create_stream=True,
                                       records=[record(acked + len(ids) * 8 + k) for k in range(8)])))
                    if len(ids) > 16:
                        c.wait(ids.pop(0))
                        acked += 8
            except (EOFError, OSError):
                pass
            d.kill()
            d.start()
            n = d.client().call('data.count')['records']
            assert n >= acked, 'acknowledged %d, found %d' % (acked, n)
            assert n % 8 == 0, 'half a batch is there: %d' % n
            acked = n


def a_retry_after_a_lost_answer_is_safe():
    with Daemon() as d:
        c = d.client()
        r = record(1)
        assert c.call('data.put', record=r, create_stream=True) == {'id': 1, 'new': True}
        assert c.call('data.put', record=r) == {'id': 1, 'new': False}
        e = fails('CONFLICT', lambda: c.call('data.put', record=dict(r, text='other')))
        assert c.call('data.count')['records'] == 1, e


def one_bad_record_takes_its_batch_and_nothing_else():
    with Daemon() as d:
        c = d.client()
        c.call('data.put', record=record(0), create_stream=True)
        good = c.send('data.put_many', records=[record(1), record(2)])
        bad = c.send('data.put_many', records=[record(3), record(0, text='another')])
        also = c.send('data.put_many', records=[record(4)])
        c.wait(good)
        e = fails('CONFLICT', lambda: c.wait(bad))
        assert e.data['index'] == 1, e.data
        c.wait(also)
        assert c.call('data.count')['records'] == 4


def bad_records_are_named():
    with Daemon() as d:
        c = d.client()
        c.call('data.put', record=record(0), create_stream=True)
        e = fails('NOT_FOUND', lambda: c.call('data.put', record=record(1, stream='diary')))
        assert 'diary' in e.msg, e
        e = fails('TOO_LARGE', lambda: c.call('data.put', record=dict(
            record(2), kind='pair', text=None, prompt='p' * 200000, completion='c' * 200000)))
        assert '262144' in e.msg or 'limit' in e.data, e
        fails('BAD_PARAMS', lambda: c.call('data.put', record=record(3, uid=b'short')))
        fails('BAD_PARAMS', lambda: c.call('data.put', record=record(4, kind='poem')))
        fails('BAD_PARAMS', lambda: c.call('data.put', record=dict(record(5), text='')))


def text_that_is_no_utf8_is_refused():
    with Daemon() as d:
        c = d.client()
        c.send('data.put', record=record(1, text='caf\udce9'), create_stream=True)
        m = c.recv()
        assert m[2]['name'] == 'PARSE' and 'UTF-8' in m[2]['msg'], m
        assert c.recv() is None
        assert d.client().call('data.count')['records'] == 0


def ten_megabytes_are_refused():
    with Daemon() as d:
        c = d.client()
        try:
            c.send('data.put', record=record(1, text='x' * 10000000), create_stream=True)
        except OSError:
            pass
        try:
            m = c.recv()
            assert m is None or m[2]['name'] == 'PARSE', m
        except OSError:
            pass
        assert d.client().call('ping') == {}


def a_second_daemon_on_the_store_says_so():
    with Daemon() as d:
        p = subprocess.run(d.command(), env=d.env, capture_output=True, text=True, timeout=30)
        assert p.returncode == 1, p
        assert 'in use by process %d' % d.proc.pid in p.stderr, p.stderr
        assert d.client().call('ping') == {}


def a_store_of_a_newer_version_is_left_alone():
    d = Daemon()
    with d:
        d.client().call('data.put', record=record(1), create_stream=True)
        d.stop()
        db = os.path.join(d.dir, 'd/data.db')
        s = sqlite3.connect(db)
        s.execute('PRAGMA user_version=99')
        s.commit()
        s.close()
        with open(db, 'rb') as f:
            before = f.read()
        p = subprocess.run(d.command(), env=d.env, capture_output=True, text=True, timeout=30)
        assert p.returncode == 78, p
        assert 'newer' in p.stderr, p.stderr
        with open(db, 'rb') as f:
            assert f.read() == before


def wrong_arguments_exit_with_2():
    d = Daemon(args=['--colour', 'red'])
    with open(os.devnull):
        p = subprocess.run(d.command(), env=d.env, capture_output=True, text=True, timeout=30)
    assert p.returncode == 2 and '--colour' in p.stderr, p


def a_full_disk_refuses_and_loses_nothing():
    d = Daemon()
    # A file size limit is a full disk that needs no root.
    plain = d.command
    d.command = lambda: ['sh', '-c', 'trap "" XFSZ; ulimit -f %d; exec "$@"' % (LIMIT_KIB * 2), 'sh'] + plain()
    acked = []
    with d:
        c = d.client()
        for i in range(400):
            try:
                c.call('data.put_many', create_stream=True,
                       records=[record(i * 4 + k, text='%d' % k + 'x' * 8000) for k in range(4)])
                acked.append(i)
            except RpcError as e:
                assert e.name in ('DISK_FULL', 'DB'), e
                break
        else:
            raise AssertionError('the disk never filled')
        n = c.call('data.count')['records']
        assert n == 4 * len(acked), (n, len(acked))
        d.kill()
        d.command = plain
        d.start()
        c = d.client()
        assert c.call('data.count')['records'] == 4 * len(acked)
        c.call('data.put', record=record(10 ** 6))


LIMIT_KIB = 2048


def export_holds_every_record():
    with Daemon() as d:
        c = d.client()
        c.call('data.put_many', records=[record(i) for i in range(600)], create_stream=True)
        r, w = os.pipe()
        id = c.send('data.export', fd=w)
        os.close(w)
        with os.fdopen(r, 'rb') as f:
            data = f.read()
        a = c.wait(id)
        assert a['records'] == 600 and a['bytes'] == len(data), a
        assert hashlib.sha256(data).hexdigest() == a['sha256']
        fails('BAD_PARAMS', lambda: c.call('data.export'))
        with open('/dev/null') as f:
            fails('BAD_PARAMS', lambda: c.call('data.export', fd=f.fileno()))


def settings_are_kept_and_checked():
    with Daemon() as d:
        c = d.client()
        c.call('policy.set', values={'min_records': 7, 'respect_idle': False})
        fails('NOT_FOUND', lambda: c.call('policy.set', values={'colour': 1}))
        fails('BAD_PARAMS', lambda: c.call('policy.set', values={'min_records': 0}))
        fails('BAD_PARAMS', lambda: c.call('policy.set', values={'min_records': 1.5}))
        e = fails('BAD_PARAMS', lambda: c.call('policy.set', values={'idle_s': 1, 'level_keep_pct': 101}))
        assert 'level_keep_pct' in e.msg
        for bad in ('', 7, True, 'a\0b', 'x' * 4096):
            e = fails('BAD_PARAMS',
                      lambda: c.call('policy.set', values={'train_scheme': bad}))
            assert 'train_scheme' in e.msg, e.msg
        fails('BAD_PARAMS', lambda: c.call('policy.set', values={'min_records': 'norms'}))
        # All or nothing.
        e = fails('NOT_FOUND', lambda: c.call('policy.set', values={'idle_s': 1, 'train_scheme': '@nope'}))
        assert 'no scheme nope' in e.msg, e.msg
        c.call('policy.set', values={'train_scheme': ' lora-last:4 '})
        d.stop()
        d.start()
        c = d.client()
        got = {k['key']: k['value'] for k in c.call('policy.get')['policy']}
        assert got['train_scheme'] == 'lora-last:4', got
        assert got['min_records'] == 7 and got['respect_idle'] is False and got['idle_s'] == 1860, got
        c.call('policy.set', values={'min_records': None})
        assert c.call('policy.get', keys=['min_records'])['policy'][0]['value'] == 16


def events_can_be_watched():
    with Daemon() as d:
        c = d.client()
        w = d.client()
        id = w.send('events.watch', stream=True, kinds=['policy_changed'])
        w.call('ping')
        c.call('policy.set', values={'min_records': 7})
        m = w.recv()
        assert m[2][0]['event']['kind'] == 'policy_changed', m
        w.notify('$/cancel', id=id)
        fails('CANCELLED', lambda: w.wait(id))
        assert [e['kind'] for e in c.call('events.watch')['events']][:1] == ['started']


def a_watch_begins_where_it_is_told():
    with Daemon() as d:
        c = d.client()
        for n in range(3):
            c.call('policy.set', values={'min_records': 10 + n})
        stored = c.call('events.watch')['events']
        w = d.client()
        id = w.send('events.watch', stream=True, after=stored[1]['id'])
        got = [w.recv()[2][0]['event'] for _ in stored[2:]]
        assert [e['id'] for e in got] == [e['id'] for e in stored[2:]], (got, stored)
        c.call('policy.set', values={'min_records': 20})
        assert w.recv()[2][0]['event']['id'] == stored[-1]['id'] + 1
        # pockd's end is the watch's.
        d.stop()
        fails('SHUTTING_DOWN', lambda: w.wait(id))


if __name__ == '__main__':
    main([
        what_was_acknowledged_survives_kill_9,
        a_retry_after_a_lost_answer_is_safe,
        one_bad_record_takes_its_batch_and_nothing_else,
        bad_records_are_named,
        text_that_is_no_utf8_is_refused,
        ten_megabytes_are_refused,
        a_second_daemon_on_the_store_says_so,
        a_store_of_a_newer_version_is_left_alone,
        wrong_arguments_exit_with_2,
        a_full_disk_refuses_and_loses_nothing,
        export_holds_every_record,
        settings_are_kept_and_checked,
        events_can_be_watched,
        a_watch_begins_where_it_is_told,
    ])
