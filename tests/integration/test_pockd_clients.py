#!/usr/bin/env python3
# SPDX-FileCopyrightText: the pockd authors
# SPDX-License-Identifier: Apache-2.0
"""Clients that are rude, slow, broken or too many; and a pockd that rests."""
import os
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from pockd_rpc import SANITIZE, SLOW, Client, Daemon, RpcError, main, pack, rss_kib, wait_for  # noqa: E402

FAST = ['--hello-ms', '200', '--frame-ms', '200', '--drain-ms', '300']


def a_bomb_of_five_bytes_is_refused():
    with Daemon() as d:
        before = rss_kib(d.proc.pid)
        for bomb in (b'\xdd\x10\0\0\0', b'\xdf\xff\xff\xff\xff', b'\xdb\xff\xff\xff\xff', b'\x91' * 64, b'\xc1'):
            c = d.client(hello=False)
            c.s.sendall(bomb)
            m = c.recv()
            assert m[2]['name'] == 'PARSE', m
            assert c.recv() is None
        c = d.client()
        c.s.sendall(b'\xdd\x10\0\0\0')
        assert c.recv()[2]['name'] == 'PARSE'
        # Sanitizers have memory of their own.
        assert rss_kib(d.proc.pid) < before + 16000


def hello_comes_first_and_in_time():
    with Daemon(args=FAST) as d:
        c = d.client(hello=False)
        c.send('ping')
        assert c.recv()[2]['name'] == 'INVALID_REQUEST'
        assert c.recv() is None
        t = time.time()
        c = d.client(hello=False)
        c.recv()
        assert c.recv() is None
        assert 0.1 < time.time() - t < 10


def another_major_version_is_refused():
    with Daemon() as d:
        c = d.client(hello=False)
        try:
            c.call('hello', proto=[9, 0], client='future/9')
            raise AssertionError('it spoke version 9')
        except RpcError as e:
            assert e.name == 'VERSION' and e.data['proto'] == [1, 0], e.data


def half_a_frame_is_not_waited_for():
    with Daemon(args=FAST) as d:
        c = d.client()
        c.s.sendall(pack([0, 9, 'ping', [{}]])[:-1])
        m = c.recv()
        assert m[2]['name'] == 'PARSE', m
        assert c.recv() is None
        # One that hangs up in the middle costs nothing either.
        c = d.client()
        c.s.sendall(pack([0, 9, 'ping', [{}]])[:-1])
        c.close()
        assert d.client().call('ping') == {}


def a_client_that_never_reads_is_disconnected():
    with Daemon(args=FAST) as d:
        c = d.client()
        c.s.settimeout(0.2)
        big = pack([0, 7, 'policy.get', [{}]])
        sent = 0
        try:
            for _ in range(4000):
                c.s.sendall(big)
                sent += 1
        except OSError:
            pass
        other = d.client()
        wait_for('the disconnection', 20, lambda: 'never_reads' in d.text() or 'backlog' in d.text())
        assert other.call('ping') == {}
        assert rss_kib(d.proc.pid) < 60000


def slow_bytes_make_a_whole_frame():
    with Daemon() as d:
        c = d.client()
        for b in pack([0, 5, 'ping', [{}]]):
            c.s.sendall(bytes([b]))
        assert c.recv() == [1, 5, None, {}]


def pipelined_requests_are_all_answered():
    with Daemon() as d:
        c = d.client()
        ids = [c.send('ping') for _ in range(2000)]
        for i in ids:
            assert c.wait(i) == {}


def a_flood_leaves_others_served():
    with Daemon() as d:
        flood, other = d.client(), d.client()
        n = 20000
        frame = pack([0, 7, 'ping', [{}]])
        sender = threading.Thread(target=flood.s.sendall, args=(frame * n,), daemon=True)
        got = [0]

        def read():
            while got[0] < n and flood.recv():
                got[0] += 1
        reader = threading.Thread(target=read, daemon=True)
        sender.start()
        reader.start()
        wait_for('the flood', 20, lambda: got[0] > 0)
        for _ in range(3):
            assert other.call('ping') == {}
        assert got[0] < n, 'the flood was served first'
        reader.join(60 * SLOW)
        assert got[0] == n, got


def pipelined_records_are_erased_by_what_comes_behind_them():
    with Daemon() as d:
        c, other = d.client(), d.client()
        for i in range(20):
            ids = [c.send('data.put_many', create_stream=True, records=[
                {'uid': struct.pack('>QQ', i, k), 'kind': 'text', 'stream': 's', 'time': k, 'text': 'x'}
                for k in range(64)]) for _ in range(4)]
            noise = [other.send('data.count') for _ in range(8)]
            ids.append(c.send('data.erase', stream='s'))
            for id in ids:
                c.wait(id)
            for id in noise:
                other.wait(id)
            assert c.call('data.count')['records'] == 0


def too_much_in_flight_is_busy():
    with Daemon() as d:
        c = d.client()
        ids = [c.send('events.watch', stream=True) for _ in range(9)]
        try:
            c.wait(ids[8])
            raise AssertionError('a ninth stream was taken')
        except RpcError as e:
            assert e.name == 'BUSY', e


def descriptors_are_counted():
    with Daemon() as d:
        c = d.client()
        with open('/dev/null') as f:
            try:
                socket.send_fds(c.s, [pack([0, 1, 'ping', [{}]])], [f.fileno()] * 3)
                while c.recv() is not None:
                    pass
            except OSError:
                pass
        fds = len(os.listdir('/proc/%d/fd' % d.proc.pid))
        for _ in range(20):
            c = d.client()
            with open('/dev/null') as f:
                socket.send_fds(c.s, [pack([0, 77, 'ping', [{}]])], [f.fileno()])
            c.recv()
            c.close()
        time.sleep(0.2)
        assert len(os.listdir('/proc/%d/fd' % d.proc.pid)) <= fds + 2


def connections_have_a_limit():
    with Daemon(args=['--connections-uid-max', '4']) as d:
        kept = [d.client() for _ in range(4)]
        c = Client(d.socket, hello=False)
        try:
            assert c.recv() is None
        except OSError:
            pass
        kept[0].close()
        wait_for('room', 5, lambda: can_connect(d))


def can_connect(d):
    try:
        return d.client().call('ping') == {}
    except (EOFError, OSError):
        return False


def a_deadline_is_kept():
    with Daemon() as d:
        c = d.client()
        id = c.send('events.watch', stream=True, timeout_ms=50)
        try:
            c.wait(id)
            raise AssertionError('it ended')
        except RpcError as e:
            assert e.name == 'TIMEOUT', e
        assert c.call('ping') == {}


def unknown_methods_and_parameters_are_named():
    with Daemon() as d:
        c = d.client()
        for name, method, params in (('NO_METHOD', 'fly', {}), ('BAD_PARAMS', 'data.get', {}),
                                     ('BAD_PARAMS', 'data.get', {'ids': 'all'}), ('BAD_PARAMS', 'ping', {'!must': 1}),
                                     ('NO_MODEL', 'gen.start', {'prompt': 'x'}),
                                     ('NOT_FOUND', 'adapter.show', {'adapter': 'x'}),
                                     ('NOT_FOUND', 'train.cancel', {}), ('NO_MODEL', 'train.start', {})):
            try:
                c.call(method, **params)
                raise AssertionError('%s worked' % method)
            except RpcError as e:
                assert e.name == name, '%s: %s instead of %s' % (method, e, name)


def an_idle_daemon_does_not_wake_up():
    if SANITIZE == 'thread':
        print('# skipped: a thread of the sanitizer wakes up ten times a second')
        return
    with Daemon() as d:
        c = d.client()
        c.call('ping')
        time.sleep(0.5)
        if not shutil.which('strace'):
            print('# strace is not installed: context switches are counted instead')
        before = switches(d.proc.pid)
        time.sleep(2)
        after = switches(d.proc.pid)
        assert after - before <= 1, 'woke up %d times' % (after - before)
        print('# resident: %d KiB' % rss_kib(d.proc.pid))
        assert rss_kib(d.proc.pid) < 8192 or SANITIZE != 'none'


def switches(pid):
    n = 0
    for t in os.listdir('/proc/%d/task' % pid):
        with open('/proc/%d/task/%s/status' % (pid, t)) as f:
            n += sum(int(line.split()[1]) for line in f if line.startswith('voluntary_ctxt'))
    return n


if __name__ == '__main__':
    main([
        a_bomb_of_five_bytes_is_refused,
        hello_comes_first_and_in_time,
        another_major_version_is_refused,
        half_a_frame_is_not_waited_for,
        a_client_that_never_reads_is_disconnected,
        slow_bytes_make_a_whole_frame,
        pipelined_requests_are_all_answered,
        a_flood_leaves_others_served,
        pipelined_records_are_erased_by_what_comes_behind_them,
        too_much_in_flight_is_busy,
        descriptors_are_counted,
        connections_have_a_limit,
        a_deadline_is_kept,
        unknown_methods_and_parameters_are_named,
        an_idle_daemon_does_not_wake_up,
    ])
