#!/usr/bin/env python3
# SPDX-FileCopyrightText: the pockd authors
# SPDX-License-Identifier: Apache-2.0
"""pockd as a service manager sees it, the manager being this program."""
import os
import socket
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from pockd_rpc import BUILD, SLOW, Client, Daemon, main, wait_for  # noqa: E402
from test_pockd_train import LONG, RECIPE, jobs, night, records, wait_end  # noqa: E402

QUIET = 'WATCHDOG_USEC=%d' % (2 * 20 * 60 * 1000000)


# The manager names the process that shall ping.
AS_MAIN = ['sh', '-c', 'WATCHDOG_PID=$$ exec "$@"', 'sh']


class Service(Daemon):
    def command(self):
        return AS_MAIN + super().command()


def busy(m):
    return night(daemon=Service(env=dict(m.env, POCKD_THREADS='1')))


class Manager:
    """Listens to what a service tells."""

    def __init__(self, watchdog_us=0):
        self.path = '\0pock-test-%d-%d' % (os.getpid(), id(self))
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(self.path)
        self.heard = []
        self.env = {'NOTIFY_SOCKET': '@' + self.path[1:]}
        if watchdog_us:
            self.env['WATCHDOG_USEC'] = str(watchdog_us)

    def listen(self):
        self.sock.setblocking(False)
        try:
            while True:
                self.heard.append(self.sock.recv(4096).decode())
        except BlockingIOError:
            return self.heard

    def hears(self, text, seconds=20):
        wait_for(text, seconds, lambda: text in self.listen())


class Units:
    """Sockets of workers' units: each connection gets a process."""

    def __init__(self, dir):
        self.dir = dir
        self.started = []
        self.procs = []
        self.sockets = []
        os.makedirs(dir)
        for kind in ('train', 'serve', 'tool'):
            s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            s.bind(os.path.join(dir, kind + '.sock'))
            s.listen(8)
            self.sockets.append(s)
            threading.Thread(target=self.accept, args=(kind, s), daemon=True).start()

    def accept(self, kind, s):
        while True:
            try:
                c, _ = s.accept()
            except OSError:
                return
            self.started.append(kind)
            self.procs.append(subprocess.Popen(AS_MAIN + [os.path.join(BUILD, 'daemon/worker/pock-worker')],
                                               stdin=c))
            c.close()

    def close(self):
        for s in self.sockets:
            s.shutdown(socket.SHUT_RDWR)
            s.close()


def tells_when_it_is_ready_and_when_it_stops():
    m = Manager()
    with Daemon(env=m.env) as d:
        m.hears('READY=1')
        assert not [x for x in m.listen() if 'WATCHDOG' in x], m.heard
        assert d.stop() == 0
        m.hears('STOPPING=1')


def start_with(d, s):
    """pockd with a listening socket, as the manager starts it."""
    give = ('import os, sys\n'
            'os.dup2(%d, 3)\n'
            'os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES="client")\n'
            'os.execv(sys.argv[1], sys.argv[1:])' % s.fileno())
    return subprocess.Popen([sys.executable, '-c', give] + d.command(), env=d.env, pass_fds=[s.fileno()], stderr=d.log)


def takes_the_socket_that_it_is_given():
    dir = None
    with Daemon() as d:
        dir = d.dir
        path = os.path.join(dir, 'given.sock')
        s = socket.socket(socket.AF_UNIX)
        s.bind(path)
        s.listen(8)
        # The first client may come before there is a daemon.
        early = socket.socket(socket.AF_UNIX)
        early.connect(path)
        d.stop()
        proc = start_with(d, s)
        try:
            c = Client(path)
            assert c.call('server.info')['workers'] == 'children'
            assert c.call('store.check')['ok'] and c.call('store.check', full=True)['ok']
            c.close()
            assert not os.path.exists(d.socket), 'it listens at its own place as well'
        finally:
            proc.terminate()
            status = proc.wait(30 * SLOW)
        early.close()
        assert status == 0, (status, d.text())
        assert os.path.exists(path), 'it removed a socket that is not its own'


def a_start_that_no_restart_helps_turns_those_away_who_wait():
    with Daemon() as d:
        path = os.path.join(d.dir, 'given.sock')
        s = socket.socket(socket.AF_UNIX)
        s.bind(path)
        s.listen(8)
        d.stop()
        os.unlink(os.path.join(d.dir, 'd', 'pockd.key'))
        waiting = [socket.socket(socket.AF_UNIX) for _ in range(3)]
        for w in waiting:
            w.settimeout(30 * SLOW)
            w.connect(path)
        assert start_with(d, s).wait(30 * SLOW) == 78
        for w in waiting:
            assert w.recv(1) == b''
            w.close()
        # Nobody is left for whom the manager would start it again.
        s.setblocking(False)
        try:
            s.accept()
            raise AssertionError('somebody waits on')
        except BlockingIOError:
            pass


def pings_often_only_while_there_is_something_that_may_hang():
    m = Manager(watchdog_us=600000)
    with busy(m) as d:
        # Nothing to do: one look, then the manager is asked to wait.
        m.hears(QUIET)
        assert m.heard.index('WATCHDOG=1') < m.heard.index(QUIET), m.heard
        m.listen().clear()
        time.sleep(1)
        assert not [x for x in m.listen() if x == 'WATCHDOG=1'], m.heard
        # A job: the ping comes before the shorter period.
        d.c.call('data.put_many', records=records(40), create_stream=True)
        d.c.call('train.start', recipe=LONG)
        m.hears('WATCHDOG_USEC=600000')
        assert m.heard.index('WATCHDOG=1') < m.heard.index('WATCHDOG_USEC=600000'), m.heard
        m.listen().clear()
        wait_for('pings', 20, lambda: m.listen().count('WATCHDOG=1') >= 4)
        # On battery nothing is worth a timer.
        m.heard.clear()
        d.plug(False)
        m.hears(QUIET)


def does_not_ping_when_the_store_does_not_answer():
    m = Manager(watchdog_us=600000)
    with busy(m) as d:
        d.c.call('data.put_many', records=records(40), create_stream=True)
        d.c.call('train.start', recipe=LONG)
        m.hears('WATCHDOG_USEC=600000')
        tasks = '/proc/%d/task' % d.proc.pid
        # All threads: the manager must miss it, whichever of them hangs.
        os.kill(d.proc.pid, 19)
        try:
            time.sleep(0.3)
            m.listen().clear()
            time.sleep(1.2)
            assert m.listen() == [], m.heard
            assert len(os.listdir(tasks)) > 1
        finally:
            os.kill(d.proc.pid, 18)
        wait_for('pings', 20, lambda: 'WATCHDOG=1' in m.listen())


def workers_come_from_units_by_what_they_are_for():
    d = Daemon(env={'POCKD_THREADS': '1'})
    u = Units(os.path.join(d.dir, 'units'))
    d.env['POCKD_WORKER_SOCKETS'] = u.dir
    d.env['POCKD_WORKER'] = '/nowhere/pock-worker'
    try:
        with night(daemon=d) as d:
            assert d.c.call('server.info')['workers'] == 'units'
            assert set(u.started) == {'tool'}, u.started
            d.c.call('gen.start', prompt='bee', max_tokens=2)
            assert u.started[-1] == 'serve', u.started
            d.c.call('data.put_many', records=records(40), create_stream=True)
            end = wait_end(d, d.c.call('train.start', recipe=RECIPE)['job']['id'])
            assert end['state'] == 'done', end
            assert 'train' in u.started, u.started
            # Its owner waits: not in the idle class.
            before = u.started.count('train')
            end = wait_end(d, d.c.call('train.start', now=True, recipe=RECIPE)['job']['id'])
            assert end['state'] == 'done', end
            assert u.started.count('train') == before, u.started
            # What runs is ended by the end of its connection.
            d.c.call('train.start', recipe=LONG)
            wait_for('ten steps', 60, lambda: jobs(d)[0]['step'] >= 10)
            worker = u.procs[-1]
            assert u.started[-1] == 'train' and worker.poll() is None
            d.kill()
            assert worker.wait(10 * SLOW) == 0
    finally:
        u.close()
        for p in u.procs:
            p.wait(30 * SLOW)


def a_unit_that_is_not_there_is_named():
    with night(env={'POCKD_WORKER_SOCKETS': '/nowhere'}, model=False) as d:
        try:
            d.c.call('model.add', path=d.model)
            raise AssertionError('it worked')
        except Exception as e:
            assert '/nowhere/tool.sock' in str(e) and 'doctor' in str(e), e


def a_worker_pings_its_own_manager():
    m = Manager(watchdog_us=300000)
    d = Daemon()
    u = Units(os.path.join(d.dir, 'units'))
    d.env['POCKD_WORKER_SOCKETS'] = u.dir
    os.environ.update(m.env)
    try:
        with night(daemon=d) as d:
            d.c.call('gen.start', prompt='bee', max_tokens=2)
            wait_for('pings', 20, lambda: m.listen().count('WATCHDOG=1') >= 3)
    finally:
        for k in m.env:
            del os.environ[k]
        u.close()
        for p in u.procs:
            p.wait(30 * SLOW)


if __name__ == '__main__':
    main([
        tells_when_it_is_ready_and_when_it_stops,
        takes_the_socket_that_it_is_given,
        a_start_that_no_restart_helps_turns_those_away_who_wait,
        pings_often_only_while_there_is_something_that_may_hang,
        does_not_ping_when_the_store_does_not_answer,
        workers_come_from_units_by_what_they_are_for,
        a_unit_that_is_not_there_is_named,
        a_worker_pings_its_own_manager,
    ])
