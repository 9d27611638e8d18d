#!/usr/bin/env python3
# SPDX-FileCopyrightText: the pockd authors
# SPDX-License-Identifier: Apache-2.0
"""A pockd that gets no memory: in the n-th allocation, once, and ever after.

Every allocation counts: the daemon's own, and those of SQLite, libuv, msgpack
and libc, through failmalloc.c. The daemon may refuse, with a sentence; it may
not fall, keep a client waiting, or lose what it acknowledged.

usage: memory.py [EVERY]    test the n-th of EVERY allocations (default 1: all;
                            as a test in continuous integration: 211)
"""
import hashlib
import mmap
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../integration'))
from pockd_rpc import BUILD, SLOW, Client, Daemon, RpcError, main, wait_for  # noqa: E402
from test_pockd_train import RECIPE, night, records, wait_end  # noqa: E402

EVERY = max(1, int(sys.argv[1])) if len(sys.argv) > 1 else 1
LIBRARY = os.environ.get('POCK_FAILMALLOC', os.path.join(BUILD, 'tests/fault/failmalloc.so'))
# What a request may be answered with when there is no memory.
REFUSALS = {'BUSY', 'INTERNAL', 'DB', 'QUOTA', 'DISK_FULL'}
PATIENCE_S = 5


class Failures:
    """The file that failmalloc.c has mapped."""

    def __init__(self, dir, program):
        self.path = os.path.join(dir, 'failmalloc')
        with open(self.path, 'wb') as f:
            f.write(bytes(32))
        with open(self.path, 'r+b') as f:
            self.map = mmap.mmap(f.fileno(), 32)
        # Then a failure's report shows which allocation it was.
        self.env = {'FAILMALLOC_TRACE': '1', 'LD_PRELOAD': LIBRARY, 'FAILMALLOC_FILE': self.path, 'FAILMALLOC_PROGRAM': program}

    def arm(self, n, forever=False):
        struct.pack_into('<QQQQ', self.map, 0, 0, int(forever), 0, 0)
        struct.pack_into('<Q', self.map, 0, n)

    def disarm(self):
        struct.pack_into('<Q', self.map, 0, 0)

    def fired(self):
        return struct.unpack_from('<Q', self.map, 16)[0]

    def calls(self):
        return struct.unpack_from('<Q', self.map, 24)[0]


def record(i, text=None):
    return {'uid': hashlib.sha256(b'%d' % i).digest()[:16], 'kind': 'text', 'stream': 'notes',
            'time': 1700000000000 + i, 'text': text or 'note %d' % i}


class Model:
    """What was acknowledged, and what may be there though nobody was told."""

    def __init__(self):
        self.next = 0
        self.sure = set()
        self.maybe = set()

    def check(self, d):
        c = d.client()
        there = set()
        page = {'next': 0}
        while 'next' in page:
            page = c.call('data.list', cursor=page['next'], limit=1000)
            there |= {bytes(r['uid']) for r in page['records']}
        c.close()
        assert self.sure <= there, '%d acknowledged records are gone' % len(self.sure - there)
        assert there <= self.sure | self.maybe, 'records that nobody sent'
        self.sure, self.maybe = there, set()


def put(c, m):
    batch = [record(m.next + i) for i in range(4)]
    uids = {r['uid'] for r in batch}
    m.next += 4
    m.maybe |= uids
    c.call('data.put_many', records=batch, create_stream=True)
    m.sure |= uids


def erase(c, m):
    """Of records of its own, so that what is sure stays sure."""
    r = record(m.next)
    m.next += 1
    m.maybe.add(r['uid'])
    id = c.call('data.put', record=r, create_stream=True)['id']
    c.call('data.erase', ids=[id])


def export(c, m):
    with tempfile.TemporaryFile() as f:
        c.call('data.export', fd=f.fileno())


def watch(c, m):
    id = c.send('events.watch', stream=True)
    c.notify('$/cancel', id=id)
    try:
        c.wait(id)
    except RpcError as e:
        if e.name != 'CANCELLED':
            raise


def settings(c, m):
    c.call('policy.set', values={'min_records': 17, 'respect_idle': True})


def inhibit(c, m):
    c.call('inhibit.release', token=c.call('inhibit.acquire', who='memory.py')['token'])


def call(method, **params):
    def fn(c, m):
        c.call(method, **params)
    fn.__name__ = method
    return fn


OPERATIONS = [put, erase, export, watch, settings, inhibit] + [
    call(m, **kw) for m, kw in (('ping', {}), ('status', {}), ('why', {}), ('server.info', {}), ('data.count', {}),
                                ('data.list', {'limit': 10}), ('policy.get', {}), ('events.watch', {}),
                                ('model.list', {}), ('adapter.list', {}), ('train.status', {}))]


def connect(d, failures, n, forever):
    """The connection may be part of what fails: every other time it is."""
    if n % 2:
        failures.arm(n, forever)
    c = Client(d.socket, hello=False)
    c.s.settimeout(PATIENCE_S * SLOW)
    c.hello = c.call('hello', proto=[1, 0], client='memory/1')
    if n % 2 == 0:
        failures.arm(n, forever)
    return c


def attempt(d, failures, op, model, n, forever):
    what = '%s, allocation %d%s' % (op.__name__, n, ' and all after' if forever else '')
    c = None
    try:
        c = connect(d, failures, n, forever)
        op(c, model)
    except RpcError as e:
        assert e.name in REFUSALS, '%s: %s' % (what, e)
        assert failures.fired(), '%s: refused, though nothing failed: %s' % (what, e)
    except socket.timeout:
        raise AssertionError(what + ': the client waits for ever')
    except (EOFError, OSError):
        pass  # it hung up, which is an answer
    finally:
        fired = failures.fired()
        failures.disarm()
        if c:
            c.close()
    if d.proc.poll() is not None:
        raise AssertionError('%s: pockd ended with %d\n%s' % (what, d.proc.returncode, d.text()[-2000:]))
    return fired


def walk(op, forever):
    """Make allocation 1, 2, 3... of an operation fail, until none does."""
    with tempfile.TemporaryDirectory() as dir:
        failures = Failures(dir, 'pockd')
        with Daemon(env=failures.env, args=['--connections-uid-max', '100']) as d:
            model = Model()
            put(d.client(), model)
            n = quiet = 0
            while quiet < 2:
                n += 1 if n < 12 else EVERY
                quiet = 0 if attempt(d, failures, op, model, n, forever) else quiet + 1
            model.check(d)
            print('# %s: %d allocations' % (op.__name__, n))
            assert d.stop() == 0
            d.start()
            model.check(d)


def every_method_does_without_memory():
    for op in OPERATIONS:
        walk(op, False)


def every_method_does_without_any_memory_from_there_on():
    for op in OPERATIONS:
        walk(op, True)


def outcome_of_start(d):
    """True when it listens; False when it ended with a sentence."""
    end = time.time() + 20 * SLOW
    while time.time() < end:
        status = d.proc.poll()
        # libuv knows no other answer where it makes room for descriptors.
        if status == -signal.SIGABRT and 'libuv' in d.text():
            return False
        if status is not None:
            assert status in (1, 2), 'pockd ended with %d:\n%s' % (status, d.text()[-2000:])
            assert 'cannot start' in d.text() or 'pockd: ' in d.text(), d.text()[-2000:]
            return False
        try:
            c = Client(d.socket)
            c.close()
            return True
        except (OSError, EOFError, RpcError):
            time.sleep(0.01)
    raise AssertionError('pockd neither listens nor ends')


def start_with(d, failures, n, forever):
    failures.arm(n, forever)
    open(os.path.join(d.dir, 'log'), 'wb').close()
    with open(os.path.join(d.dir, 'log'), 'ab') as log:
        d.proc = subprocess.Popen(d.command(), env=d.env, stderr=log, stdout=log)
    try:
        if forever:
            # It listens for ever and takes nobody, or ends.
            wait_for('the failure', 20, lambda: failures.fired() or d.proc.poll() is not None
                     or can_ping(d))
            time.sleep(0.02)
            failures.disarm()
        is_up = outcome_of_start(d)
    finally:
        failures.disarm()
        if d.proc.poll() is None:
            d.proc.terminate()
        status = d.proc.wait(30 * SLOW)
    if is_up:
        assert status == 0, 'pockd stopped with %d:\n%s' % (status, d.text()[-2000:])
    return failures.fired()


def can_ping(d):
    try:
        return Client(d.socket).call('ping') == {}
    except (OSError, EOFError, RpcError):
        return False


def walk_start(forever, is_new):
    with tempfile.TemporaryDirectory() as dir:
        failures = Failures(dir, 'pockd')
        d = Daemon(env=failures.env)
        model = Model()
        with d:
            put(d.client(), model)
            assert d.stop() == 0
            kept = os.path.join(dir, 'kept')
            shutil.copytree(os.path.join(d.dir, 'd'), kept)
            n, ended = 0, 0
            while True:
                n += 1 if n < 12 else EVERY
                shutil.rmtree(os.path.join(d.dir, 'd'))
                if is_new:
                    os.mkdir(os.path.join(d.dir, 'd'))
                else:
                    shutil.copytree(kept, os.path.join(d.dir, 'd'))
                try:
                    fired = start_with(d, failures, n, forever)
                    # The next start finds nothing broken.
                    d.start()
                    (Model() if is_new else model).check(d)
                    d.stop()
                except AssertionError as e:
                    raise AssertionError('start, allocation %d%s: %s' % (n, ' and all after' if forever else '', e))
                ended += 1
                if not fired:
                    break
            print('# starts: %d, up to allocation %d' % (ended, n))
            d.start()


def a_start_without_memory_is_refused_and_loses_nothing():
    walk_start(False, False)


def a_start_without_any_memory_from_there_on():
    walk_start(True, False)


def the_first_start_of_all():
    walk_start(False, True)


def train(d, failures, n, forever):
    """A job whose worker lacks memory is tried again, and then ends well."""
    failures.arm(n, forever)
    job = d.c.call('train.start', recipe=dict(RECIPE, epochs=1))['job']['id']
    if forever:
        wait_for('the failure, or the end', 60, lambda: failures.fired() or state(d, job)['state'] == 'done')
        wait_for('the end of that worker', 60, lambda: state(d, job)['state'] in ('queued', 'done', 'failed'))
        failures.disarm()
    end = wait_end(d, job)
    fired = failures.fired()
    failures.disarm()
    assert end['state'] == 'done', 'allocation %d of the worker%s: %s\n%s' % (
        n, ' and all after' if forever else '', end, d.text()[-3000:])
    d.c.call('adapter.delete', adapter='default')
    return fired


def state(d, job):
    return d.c.call('train.status', job=job)['jobs'][0]


def walk_worker(forever):
    with tempfile.TemporaryDirectory() as dir:
        failures = Failures(dir, 'pock-worker')
        with night(env=failures.env) as d:
            d.c.call('data.put_many', records=records(40), create_stream=True)
            failures.arm(0)
            train(d, failures, 0, False)
            print('# a worker allocates %d times' % failures.calls())
            n, jobs = 0, 0
            while True:
                n += 1 if n < 4 else 5 * EVERY
                jobs += 1
                if not train(d, failures, n, forever):
                    break
            print('# jobs: %d, up to allocation %d of a worker' % (jobs, n))


def a_worker_without_memory_costs_a_try():
    walk_worker(False)


def a_worker_without_any_memory_from_there_on_costs_a_try():
    walk_worker(True)


if __name__ == '__main__':
    if not os.path.exists(LIBRARY):
        print('1..0 # SKIP the allocator that fails was not built')
        sys.exit(0)
    if os.environ.get('POCK_SANITIZE', 'none') != 'none':
        print('1..0 # SKIP a sanitizer has an allocator of its own')
        sys.exit(0)
    main([
        every_method_does_without_memory,
        every_method_does_without_any_memory_from_there_on,
        a_start_without_memory_is_refused_and_loses_nothing,
        a_start_without_any_memory_from_there_on,
        the_first_start_of_all,
        a_worker_without_memory_costs_a_try,
        a_worker_without_any_memory_from_there_on_costs_a_try,
    ])
