#!/usr/bin/env python3
# SPDX-FileCopyrightText: the pockd authors
# SPDX-License-Identifier: Apache-2.0
"""pockd under load, killed without warning, again and again.

Clients put, erase and train at the same time; at a random moment pockd gets
SIGKILL, with its worker or without. After each kill a model of what the clients
were told is compared with what is there: every acknowledged record, no half
batch, nothing of an acknowledged erase, exactly one active version of the
adapter, and its file is whole; now and then it also answers. The seed of a
failure is printed.

usage: kill_cycles.py [CYCLES [SEED [SECONDS]]]
40 cycles, or as many as begin within SECONDS; 10,000 before a release.
"""
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../integration'))
from pockd_rpc import SLOW, Client, RpcError, main, wait_for  # noqa: E402
from test_pockd_train import RECIPE, night, records, worker_pid  # noqa: E402

CYCLES = int(sys.argv[1]) if len(sys.argv) > 1 else 40
SEED = int(sys.argv[2]) if len(sys.argv) > 2 else 1
SECONDS = float(sys.argv[3]) if len(sys.argv) > 3 else float('inf')
BATCH = 4
CLIENTS = 3
ALIVE_MAX = 400 # batches of a client
VERSIONS_MAX = 20


class Model:
    """What one client was told. A batch is there as a whole, or not at all."""

    def __init__(self, name):
        self.name = name
        self.next = 0
        self.sure = {}     # batch -> ids of its records
        self.going = set() # an erase was sent for it
        self.gone = set()  # and acknowledged

    def uid(self, batch, i):
        return hashlib.sha256(b'%s %d %d' % (self.name.encode(), batch, i)).digest()[:16]

    def make(self):
        batch = self.next
        self.next += 1
        return batch, [{'uid': self.uid(batch, i), 'kind': 'text', 'stream': self.name,
                        'time': 1700000000000 + batch, 'text': 'batch %d of %s, record %d' % (batch, self.name, i)}
                       for i in range(BATCH)]

    def check(self, there):
        for batch in range(self.next):
            n = sum(self.uid(batch, i) in there for i in range(BATCH))
            what = 'batch %d of %s: %d of %d records are there' % (batch, self.name, n, BATCH)
            assert n in (0, BATCH), what
            if batch in self.gone:
                assert n == 0, what + ', though they were erased'
            elif batch in self.sure and batch not in self.going:
                assert n == BATCH, what + ', though they were acknowledged'
            # Whatever it is now, it must stay so.
            if n == BATCH:
                self.sure[batch] = [there[self.uid(batch, i)] for i in range(BATCH)]
            else:
                self.sure.pop(batch, None)
                self.gone.add(batch)
        self.going.clear()


class Actor(threading.Thread):
    """Does its work until pockd is killed under it."""

    def __init__(self, d, seed):
        super().__init__(daemon=True)
        self.d, self.random, self.problem = d, random.Random(seed), None

    def run(self):
        try:
            self.work(Client(self.d.socket))
        except (OSError, EOFError):
            pass  # it was killed
        except Exception as e:  # Told by the main thread.
            self.problem = e


class Writer(Actor):
    """Puts batches, some under way at a time, and erases others."""

    def __init__(self, d, seed, model, erases):
        super().__init__(d, seed)
        self.model, self.erases = model, erases

    def erase(self, c, count):
        m = self.model
        batches = self.random.sample(sorted(m.sure), count)
        m.going |= set(batches)
        c.call('data.erase', ids=[id for b in batches for id in m.sure[b]])
        for b in batches:
            del m.sure[b]
        m.going -= set(batches)
        m.gone |= set(batches)

    def work(self, c):
        m, sent = self.model, []
        while True:
            batch, rows = m.make()
            sent.append((c.send('data.put_many', records=rows, create_stream=True), batch))
            while len(sent) > self.random.randrange(6):
                id, batch = sent.pop(0)
                m.sure[batch] = c.wait(id)['ids']
            time.sleep(self.random.random() * 0.01)
            # Each ends the run that trains: not always, or none would finish.
            if len(m.sure) > ALIVE_MAX:
                self.erase(c, ALIVE_MAX // 2)
            elif self.erases and m.sure and self.random.randrange(10) == 0:
                self.erase(c, 1)


class Trainer(Actor):
    """Asks for a job whenever there is none."""

    def work(self, c):
        while True:
            if not c.call('train.status')['jobs']:
                c.call('train.start', streams=['base'], recipe=dict(RECIPE, epochs=1))
            time.sleep(0.02)


def there(c):
    rows, page = {}, {'next': 0}
    while 'next' in page:
        page = c.call('data.list', cursor=page['next'], limit=1000)
        rows.update((bytes(r['uid']), r['id']) for r in page['records'])
    return rows


class Cycles:
    def __init__(self, d):
        self.d = d
        self.random = random.Random(SEED)
        self.models = [Model('client-%d' % i) for i in range(CLIENTS)]
        self.active = 0
        self.cycles = 0
        self.kills = 0

    def kill(self):
        if self.random.randrange(8) == 0:
            worker = worker_pid(self.d)
            if worker:
                try:
                    os.kill(worker, signal.SIGKILL)
                except ProcessLookupError:
                    pass
        self.d.kill()
        self.kills += 1

    def start(self):
        # Now and then it does not get beyond its start.
        while self.random.randrange(5) == 0:
            with open(os.devnull, 'wb') as null:
                self.d.proc = subprocess.Popen(self.d.command(), env=self.d.env, stderr=null, stdout=null)
            time.sleep(self.random.random() * 0.04)
            self.kill()
        self.d.start()
        # A child on its way to be a worker may still hold the old one's socket.
        wait_for('an answer', 20, self.can_ping)

    def can_ping(self):
        try:
            c = Client(self.d.socket)
            c.close()
            return True
        except (OSError, EOFError):
            return False

    def check_adapter(self, c, asks):
        adapters = c.call('adapter.list')['adapters']
        if not adapters:
            assert self.active == 0, 'the adapter is gone'
            return
        a = adapters[0]
        actives = [v for v in a['versions'] if v['state'] == 'active']
        if 'active' not in a:
            assert not actives and self.active == 0, 'version %d was active, none is now' % self.active
            return
        assert [v['version'] for v in actives] == [a['active']], a
        assert a['active'] >= self.active, a
        self.active = a['active']
        # It opens, and holds what it held.
        with tempfile.TemporaryFile() as f:
            c.call('adapter.export', fd=f.fileno(), adapter='default')
            f.seek(0)
            assert hashlib.sha256(f.read()).hexdigest() == actives[0]['sha256'], 'another file'
        if asks:
            g = c.call('gen.start', prompt='bee', max_tokens=4, seed=1)
            # A job may have ended since.
            now = c.call('adapter.list')['adapters'][0]['active']
            assert a['active'] <= g['version'] <= now, (g, a['active'], now)
        if len(a['versions']) > VERSIONS_MAX:
            self.begin_anew(c)

    def begin_anew(self, c):
        try:
            c.call('adapter.delete', adapter='default')
            self.active = 0
        except RpcError as e:
            if e.name != 'CONFLICT':  # a job goes on already
                raise

    def check(self, number):
        c = Client(self.d.socket)
        rows = there(c)
        for m in self.models:
            m.check(rows)
        info = c.call('server.info')
        assert not info['degraded'], info
        self.check_adapter(c, number % 20 == 19)
        c.close()

    def run(self, number):
        erases = self.random.randrange(3) == 0
        clients = [Writer(self.d, self.random.random(), m, erases) for m in self.models]
        clients.append(Trainer(self.d, self.random.random()))
        for t in clients:
            t.start()
        time.sleep(self.random.uniform(0.001, 0.4 if erases else 0.8))
        self.kill()
        for t in clients:
            t.join(30 * SLOW)
            assert not t.is_alive(), 'a client hangs though pockd is gone'
        self.start()
        self.check(number)
        for t in clients:
            if t.problem:
                raise t.problem
        self.cycles += 1


def what_was_acknowledged_survives_every_kill():
    with night() as d:
        d.c.call('data.put_many', records=records(40, stream='base'), create_stream=True)
        cycles = Cycles(d)
        end = time.monotonic() + SECONDS
        for n in range(CYCLES):
            if time.monotonic() > end:
                break
            try:
                cycles.run(n)
            except BaseException as e:
                print('# cycle %d of seed %d: %r' % (n, SEED, e))
                raise
            if n % 500 == 499:
                print('# %d kills' % cycles.kills, flush=True)
        d.stop()
        print('# %d cycles, %d kills, %d batches, version %d is active' % (
            cycles.cycles, cycles.kills, sum(m.next for m in cycles.models), cycles.active))


if __name__ == '__main__':
    # SIGKILL takes nothing from the kernel, so memory will do for a disk.
    if os.access('/dev/shm', os.W_OK):
        os.environ.setdefault('TMPDIR', '/dev/shm')
    main([what_was_acknowledged_survives_every_kill])
