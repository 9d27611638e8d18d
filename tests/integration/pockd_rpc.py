# SPDX-FileCopyrightText: the pockd authors
# SPDX-License-Identifier: Apache-2.0
"""A pockd for a test, and a client that speaks its protocol by hand.

Only what tests need: a small msgpack, a connection that can also be rude, and
a daemon in a temporary directory with a fake /sys that can be plugged in.
"""
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get('POCK_BUILD', os.path.join(ROOT, 'build'))
SLOW = float(os.environ.get('POCK_SLOW', '1'))
SANITIZE = os.environ.get('POCK_SANITIZE', 'none')


def pack(o):
    if o is None:
        return b'\xc0'
    if o is True or o is False:
        return b'\xc3' if o else b'\xc2'
    if isinstance(o, int):
        if 0 <= o < 128:
            return bytes([o])
        if -32 <= o < 0:
            return struct.pack('b', o)
        return b'\xcf' + struct.pack('>Q', o) if o >= 0 else b'\xd3' + struct.pack('>q', o)
    if isinstance(o, float):
        return b'\xcb' + struct.pack('>d', o)
    if isinstance(o, str):
        b = o.encode('utf-8', 'surrogateescape')
        return (bytes([0xa0 | len(b)]) if len(b) < 32 else b'\xdb' + struct.pack('>I', len(b))) + b
    if isinstance(o, bytes):
        return b'\xc6' + struct.pack('>I', len(o)) + o
    if isinstance(o, (list, tuple)):
        head = bytes([0x90 | len(o)]) if len(o) < 16 else b'\xdd' + struct.pack('>I', len(o))
        return head + b''.join(map(pack, o))
    head = bytes([0x80 | len(o)]) if len(o) < 16 else b'\xdf' + struct.pack('>I', len(o))
    return head + b''.join(pack(k) + pack(v) for k, v in o.items())


class More(Exception):
    pass


class Unpacker:
    def __init__(self, data):
        self.data = data
        self.at = 0

    def take(self, n):
        if self.at + n > len(self.data):
            raise More
        self.at += n
        return self.data[self.at - n:self.at]

    def num(self, fmt):
        return struct.unpack('>' + fmt, self.take(struct.calcsize(fmt)))[0]

    def value(self):
        t = self.num('B')
        if t < 0x80:
            return t
        if t >= 0xe0:
            return t - 256
        if t < 0x90:
            return self.map(t & 15)
        if t < 0xa0:
            return [self.value() for _ in range(t & 15)]
        if t < 0xc0:
            return self.take(t & 31).decode()
        simple = {0xc0: None, 0xc2: False, 0xc3: True}
        if t in simple:
            return simple[t]
        nums = {0xca: 'f', 0xcb: 'd', 0xcc: 'B', 0xcd: 'H', 0xce: 'I', 0xcf: 'Q',
                0xd0: 'b', 0xd1: 'h', 0xd2: 'i', 0xd3: 'q'}
        if t in nums:
            return self.num(nums[t])
        if t in (0xd9, 0xda, 0xdb):
            return self.take(self.num('BHI'[t - 0xd9])).decode()
        if t in (0xc4, 0xc5, 0xc6):
            return self.take(self.num('BHI'[t - 0xc4]))
        if t in (0xdc, 0xdd):
            return [self.value() for _ in range(self.num('HI'[t - 0xdc]))]
        if t in (0xde, 0xdf):
            return self.map(self.num('HI'[t - 0xde]))
        raise ValueError('type %#x' % t)

    def map(self, n):
        return {self.value(): self.value() for _ in range(n)}


class RpcError(Exception):
    def __init__(self, e):
        super().__init__('%(name)s: %(msg)s' % e)
        self.name = e['name']
        self.msg = e['msg']
        self.data = e.get('data') or {}


class Client:
    def __init__(self, path, hello=True):
        self.s = socket.socket(socket.AF_UNIX)
        self.s.settimeout(60 * SLOW)
        self.s.connect(path)
        self.buf = b''
        self.id = 0
        self.items = []
        self.answers = {}
        if hello:
            self.hello = self.call('hello', proto=[1, 0], client='test/1')

    def send(self, method, fd=None, **params):
        self.id += 1
        if fd is not None:
            params['fd'] = True
        b = pack([0, self.id, method, [params]])
        if fd is not None:
            n = socket.send_fds(self.s, [b], [fd])
            b = b[n:]
        if b:
            self.s.sendall(b)
        return self.id

    def recv(self):
        """The next frame, or None when the daemon hung up."""
        while True:
            u = Unpacker(self.buf)
            try:
                v = u.value()
                self.buf = self.buf[u.at:]
                return v
            except More:
                pass
            b = self.s.recv(1 << 16)
            if not b:
                return None
            self.buf += b

    def wait(self, id):
        while id not in self.answers:
            m = self.recv()
            if m is None:
                raise EOFError('the daemon hung up')
            if m[0] == 2:
                self.items.append(m[2][0])
            else:
                self.answers[m[1]] = m
        m = self.answers.pop(id)
        if m[2]:
            raise RpcError(m[2])
        return m[3]

    def call(self, method, fd=None, **params):
        return self.wait(self.send(method, fd, **params))

    def notify(self, method, **params):
        self.s.sendall(pack([2, method, [params]]))

    def close(self):
        self.s.close()


class Daemon:
    """pockd --user in its own directory. A context manager."""

    def __init__(self, args=(), env=None, dir=None, sysroot=True):
        self.dir = dir or tempfile.mkdtemp(prefix='pockd-test-')
        self.own_dir = dir is None
        self.args = list(args)
        self.sysroot = os.path.join(self.dir, 'sysroot') if sysroot else None
        self.env = dict(os.environ, **(env or {}))
        self.env['POCKD_SYSROOT'] = self.sysroot or ''
        self.env.setdefault('POCKD_PROBE', os.path.join(ROOT, 'clients/demo/probe.jsonl'))
        self.env.pop('POCKD_SOCKET', None)
        self.socket = os.path.join(self.dir, 'd', 'pockd.sock')
        self.proc = None
        self.clients = []
        if self.sysroot:
            self.plug(True)
            self.screen(False)

    def put(self, path, text):
        full = os.path.join(self.sysroot, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, 'w') as f:
            f.write(text + '\n')

    def plug(self, on, level=80):
        ps = 'sys/class/power_supply/'
        self.put(ps + 'AC/type', 'Mains')
        self.put(ps + 'BAT0/type', 'Battery')
        self.put(ps + 'BAT0/capacity', str(level))
        self.put(ps + 'BAT0/status', 'Charging' if on else 'Discharging')
        self.put(ps + 'AC/online', '1' if on else '0')

    def screen(self, on):
        self.put('sys/class/drm/card0-eDP-1/status', 'connected')
        self.put('sys/class/drm/card0-eDP-1/enabled', 'enabled' if on else 'disabled')
        self.put('sys/class/drm/card0-eDP-1/dpms', 'On' if on else 'Off')

    def command(self):
        return [os.path.join(BUILD, 'daemon/pockd'), '--user', '--dir',
                os.path.join(self.dir, 'd')] + self.args

    def start(self):
        self.log = open(os.path.join(self.dir, 'log'), 'ab')
        self.proc = subprocess.Popen(self.command(), env=self.env, stderr=self.log, stdout=self.log)
        end = time.time() + 20 * SLOW
        while time.time() < end:
            if self.proc.poll() is not None:
                raise RuntimeError('pockd ended with %d:\n%s' % (self.proc.returncode, self.text()))
            try:
                s = socket.socket(socket.AF_UNIX)
                s.connect(self.socket)
                s.close()
                return self
            except OSError:
                time.sleep(0.01)
        raise RuntimeError('pockd does not listen:\n' + self.text())

    def text(self):
        with open(os.path.join(self.dir, 'log'), errors='replace') as f:
            return f.read()

    def client(self, **kw):
        c = Client(self.socket, **kw)
        self.clients.append(c)
        return c

    def kill(self):
        self.proc.kill()
        self.proc.wait()

    def stop(self):
        self.proc.send_signal(signal.SIGTERM)
        return self.proc.wait(30 * SLOW)

    def __enter__(self):
        return self if self.proc else self.start()

    def __exit__(self, kind, value, trace):
        for c in self.clients:
            c.close()
        if self.proc.poll() is None:
            self.proc.terminate()
            try:
                self.proc.wait(30 * SLOW)
            except subprocess.TimeoutExpired:
                self.proc.kill()
                self.proc.wait()
        if kind:
            sys.stderr.write(self.text()[-6000:])
        self.log.close()
        if self.own_dir:
            shutil.rmtree(self.dir, ignore_errors=True)


def rss_kib(pid):
    with open('/proc/%d/status' % pid) as f:
        for line in f:
            if line.startswith('VmRSS'):
                return int(line.split()[1])
    return 0


def places():
    """The steps 1, 2, 3... to be killed at. Each sanitizer looks at a third of
    them, another one: what comes of a kill is the same without."""
    first = {'none': 1, 'thread': 2}.get(SANITIZE, 3)
    return range(first, 99, 1 if SANITIZE == 'none' else 3)


def in_child(fn):
    """fn() in a process of its own; its result, or the exception's text."""
    r, w = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(r)
            os.write(w, json.dumps(fn()).encode())
            os._exit(0)
        except BaseException as e:
            os.write(w, json.dumps(repr(e)).encode())
            os._exit(1)
    os.close(w)
    with os.fdopen(r) as f:
        out = json.loads(f.read())
    os.waitpid(pid, 0)
    return out


def wait_for(what, seconds, fn):
    """fn() until it gives something true."""
    end = time.time() + seconds * SLOW
    while time.time() < end:
        v = fn()
        if v:
            return v
        time.sleep(0.02)
    raise AssertionError('%s did not happen in %g s' % (what, seconds * SLOW))


def main(tests):
    """Run functions named as sentences; TAP on standard output."""
    print('1..%d' % len(tests))
    failed = 0
    for n, t in enumerate(tests, 1):
        begin = time.monotonic()
        try:
            t()
            print('ok %d - %s' % (n, t.__name__), flush=True)
        except Exception as e:  # The next test still runs.
            failed += 1
            import traceback
            traceback.print_exc()
            print('not ok %d - %s # %s' % (n, t.__name__, str(e).split('\n')[0]), flush=True)
        print('# %.1f s' % (time.monotonic() - begin))
    sys.exit(1 if failed else 0)
