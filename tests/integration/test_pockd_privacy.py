#!/usr/bin/env python3
# SPDX-FileCopyrightText: the pockd authors
# SPDX-License-Identifier: Apache-2.0
"""What SECURITY.md promises, seen from outside of the processes."""
import ctypes
import hashlib
import os
import re
import resource
import shutil
import socket
import stat
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from pockd_rpc import BUILD, SLOW, Daemon, RpcError, in_child, main, wait_for  # noqa: E402
from test_pockd_train import RECIPE, jobs, night, records, wait_end  # noqa: E402

CANARY = 'zanzibarquokka'


def sha256(path):
    with open(path, 'rb') as f:
        return hashlib.sha256(f.read()).hexdigest()


def learn_and_answer(d):
    """Every path that texts take: stored, trained, evaluated, asked, scored."""
    told = records(40)
    for r in told:
        r['text'] += ' ' + CANARY
    d.c.call('data.put_many', records=told, create_stream=True)
    job = d.c.call('train.start', recipe=RECIPE)['job']['id']
    end = wait_end(d, job)
    assert end['state'] == 'done', end
    d.c.call('gen.start', prompt=CANARY, max_tokens=8)
    d.c.call('score', texts=['one ' + CANARY])
    return told


def no_text_reaches_logs_events_or_names():
    with night() as d:
        learn_and_answer(d)
        assert CANARY not in d.text(), 'in the log'
        assert CANARY not in repr(d.c.call('events.watch')), 'in an event'
        assert CANARY not in repr(d.c.call('status')), 'in the status'
        for top, dirs, files in os.walk(os.path.join(d.dir, 'd')):
            for name in dirs + files:
                assert CANARY not in name, name


def only_the_owner_can_read_what_is_kept():
    with night() as d:
        learn_and_answer(d)
        for top, dirs, files in os.walk(os.path.join(d.dir, 'd')):
            for name in dirs + files:
                path = os.path.join(top, name)
                mode = os.lstat(path).st_mode
                if stat.S_ISSOCK(mode) or stat.S_ISLNK(mode):
                    continue
                open_to = mode & 0o077
                # What lies in a closed directory cannot be reached.
                closed = os.stat(os.path.join(d.dir, 'd')).st_mode & 0o077 == 0
                assert not open_to or closed, '%s is %o' % (path, mode & 0o777)


def the_base_model_is_never_written():
    with night() as d:
        before = sha256(d.model), os.stat(d.model).st_mtime_ns
        learn_and_answer(d)
        assert (sha256(d.model), os.stat(d.model).st_mtime_ns) == before


def feed_every_path(d):
    """A word of its own for every way into pockd; returns all of them."""
    words = {}

    def word(way):
        words[way] = CANARY + way
        return 'The %s heard of it.' % words[way]

    def record(i, **content):
        return dict(uid=b'canary%010d' % i, stream='ways', time=1_753_000_000_000 + i, **content)

    d.c.call('data.put', create_stream=True,
             record=record(1, kind='text', text=word('text')))
    d.c.call('data.put_many', records=[
        record(2, kind='pair', prompt=word('prompt'), completion=word('completion')),
        record(3, kind='chat', messages=[{'role': 'user', 'content': word('user')},
                                         {'role': 'assistant', 'content': word('assistant')}])])
    path = os.path.join(d.dir, 'import.jsonl')
    with open(path, 'w') as f:
        f.write('{"text": "%s"}\n' % word('import'))
    subprocess.run([os.path.join(BUILD, 'clients/pockctl/pockctl'), 'data', 'import', path,
                    '--stream', 'ways'], check=True, stdout=subprocess.DEVNULL,
                   env=dict(os.environ, POCKD_SOCKET=d.socket))
    told = records(40)
    for r in told:
        r['text'] += ' ' + word('many')
    d.c.call('data.put_many', records=told, create_stream=True)
    job = d.c.call('train.start', recipe=dict(RECIPE, last_blocks=1))['job']['id']
    assert wait_end(d, job)['state'] == 'done'
    d.c.call('gen.start', prompt=word('gen'), max_tokens=8)
    d.c.call('score', texts=[word('score')])
    d.c.call('score', pairs=[{'prompt': word('scoreprompt'), 'completion': word('scored')}])
    d.c.call('score', heldout=True)
    d.c.call('data.list', preview=True)
    for method, extra in (('data.export', {}), ('adapter.export', {'adapter': 'default'})):
        with open(os.path.join(d.dir, method), 'wb') as f:
            d.c.call(method, fd=f.fileno(), **extra)
    assert words['import'] in open(os.path.join(d.dir, 'data.export')).read()
    # A bad request is told about without what it held.
    for bad in ({'record': record(9, kind='text', text=word('bad'), nonsense=word('badkey'))},
                {'record': {'uid': b'short', 'text': word('baduid')}}):
        try:
            d.c.call('data.put', **bad)
        except RpcError:
            pass
    # And one that is in the middle of its work.
    d.c.call('train.start', recipe=dict(RECIPE, epochs=1000, patience=1000, last_blocks=1))
    wait_for('a step', 60, lambda: any(j['step'] >= 1 for j in jobs(d)))
    d.plug(False)
    wait_for('a checkpoint', 60, lambda: os.listdir(os.path.join(d.dir, 'd', 'ckpt')))
    return words


def what_is_kept_is_sealed():
    with night() as d:
        words = feed_every_path(d)
        names = {os.path.basename(p) for p in every_path(d)}
        assert {'data.db', 'adapter.gguf', 'prefix.cache'} <= names, names
        for stopped in (False, True):
            if stopped:
                d.stop()
            for path, data in zip(every_path(d), every_file(d)):
                assert CANARY.encode() not in data, path
                assert CANARY not in path
                # Nor what was made of them.
                if os.sep + 'adapters' + os.sep in path or os.sep + 'ckpt' + os.sep in path:
                    assert data.startswith(b'pockseal'), path
                    for mark in (b'GGUF', b'lora_', b'blk.0', b'general.'):
                        assert mark not in data, path
                if path.endswith('prefix.cache'):
                    assert data.startswith(b'pockpfx2'), path
        for way, w in words.items():
            assert w not in d.text(), 'in the log: ' + way
        assert CANARY not in d.text()


def erased_text_is_in_no_file():
    with night() as d:
        learn_and_answer(d)
        d.c.call('data.erase', all=True)
        for path, data in zip(every_path(d), every_file(d)):
            assert CANARY.encode() not in data, path


def every_path(d):
    for top, _, files in os.walk(os.path.join(d.dir, 'd')):
        for name in sorted(files):
            path = os.path.join(top, name)
            if stat.S_ISREG(os.lstat(path).st_mode):
                yield path


def every_file(d):
    for path in every_path(d):
        with open(path, 'rb') as f:
            yield f.read()


def no_process_makes_a_network_socket():
    if not shutil.which('strace'):
        print('# skipped: strace is not installed')
        return
    with night() as d:
        trace = os.path.join(d.dir, 'trace')
        strace = subprocess.Popen(['strace', '-f', '-qq', '-e', 'trace=socket,socketpair,connect,bind',
                                   '-o', trace, '-p', str(d.proc.pid)], stderr=subprocess.DEVNULL)
        wait_for('strace', 10, lambda: 'TracerPid:\t0' not in
                 open('/proc/%d/status' % d.proc.pid).read())
        learn_and_answer(d)
        strace.terminate()
        strace.wait()
        with open(trace) as f:
            families = set(re.findall(r'\b((?:AF|PF)_[A-Z0-9]+)', f.read()))
        assert 'AF_UNIX' in families, 'the workers were not seen'
        assert families <= {'AF_UNIX', 'AF_NETLINK'}, families


def peek(pids):
    """What a program of the same user gets of these processes: names of what it could open."""
    got = []
    for pid in pids:
        with open('/proc/%d/limits' % pid) as f:
            core = next(line for line in f if line.startswith('Max core file size'))
        if core.split()[4] != '0' or core.split()[5] != '0':
            got.append('%d: %s' % (pid, core))
        for name in ('mem', 'environ', 'maps', 'auxv'):
            try:
                with open('/proc/%d/%s' % (pid, name), 'rb') as f:
                    f.read(1)
                got.append('%d/%s' % (pid, name))
            except OSError:
                pass
    return got


def as_another(uid, fn):
    """fn() in a process of another user; its result."""
    def run():
        os.setgroups([])
        os.setgid(uid)
        os.setuid(uid)
        # As if it had been started so: pockd looks at who its clients are.
        ctypes.CDLL(None).prctl(4, 1)  # PR_SET_DUMPABLE
        return fn()
    return in_child(run)


def processes_cannot_be_read_by_others_or_leave_cores():
    # As a user who has no power over processes that the kernel protects.
    if os.geteuid() != 0:
        assert look_into_a_night() == []
        return
    if not as_another(65534, lambda: os.access(os.path.join(BUILD, 'daemon/pockd'), os.X_OK)):
        print('# skipped: what was built here is for root only')
        return
    found = as_another(65534, look_into_a_night)
    assert found == [], found


def look_into_a_night():
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
    os.environ['HOME'] = '/nonexistent'
    with night() as d:
        d.c.call('data.put_many', records=records(40), create_stream=True)
        d.c.call('train.start', recipe=dict(RECIPE, epochs=1000, patience=1000))
        wait_for('a step', 60, lambda: jobs(d) and jobs(d)[0]['step'] >= 1)
        out = subprocess.run(['pgrep', '-P', str(d.proc.pid)], capture_output=True, text=True).stdout
        pids = [d.proc.pid] + [int(x) for x in out.split()]
        assert len(pids) > 1, pids
        # A process of this user that protects nothing shows that others could be read.
        plain = subprocess.Popen(['sleep', '600'])
        try:
            wait_for('a look', 10, lambda: '%d/mem' % plain.pid in peek([plain.pid]) or
                     '%d/environ' % plain.pid in peek([plain.pid]))
            found = peek(pids)
        finally:
            plain.kill()
            plain.wait()
        for pid in pids[1:]:
            with open('/proc/%d/status' % pid) as f:
                status = dict(line.split(':', 1) for line in f)
            # Confined, where the kernel can (unit/worker/test_confine.c says how).
            if status['NoNewPrivs'].strip() != '1' or status.get('Seccomp', '2').strip() != '2':
                found.append('%d: %s' % (pid, status))
        return found


def other_users_are_refused():
    if os.geteuid() != 0:
        print('# skipped: only root can be another user')
        return
    with Daemon() as d:
        # Open every door of the file system: the kernel's word is what counts.
        for path in (d.dir, os.path.join(d.dir, 'd')):
            os.chmod(path, 0o755)
        os.chmod(d.socket, 0o777)
        child = os.fork()
        if child == 0:
            try:
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
                peer = socket.socket(socket.AF_UNIX)
                peer.settimeout(20 * SLOW)
                peer.connect(d.socket)
                os._exit(0 if peer.recv(64) == b'' else 1)
            except BaseException as e:
                os.write(2, repr(e).encode())
                os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        wait_for('a line in the log', 10, lambda: 'event=client_refused uid=65534' in d.text())
        assert d.client().call('ping') is not None


if __name__ == '__main__':
    main([
        no_text_reaches_logs_events_or_names,
        only_the_owner_can_read_what_is_kept,
        the_base_model_is_never_written,
        what_is_kept_is_sealed,
        erased_text_is_in_no_file,
        no_process_makes_a_network_socket,
        processes_cannot_be_read_by_others_or_leave_cores,
        other_users_are_refused,
    ])
