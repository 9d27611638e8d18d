#!/usr/bin/env python3
# SPDX-FileCopyrightText: the pockd authors
# SPDX-License-Identifier: Apache-2.0
"""Wrong bytes in every kind of file that pockd keeps, a full and a read-only disk.

Whatever the file: pockd starts or says in a sentence why not, tells what is
wrong when the file is used, and loses nothing else.

usage: damage.py [TIMES [SEED]]    each file TIMES times (2)
"""
import glob
import hashlib
import os
import random
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../integration'))
from pockd_rpc import SLOW, Client, Daemon, RpcError, main, wait_for  # noqa: E402
from test_pockd_store import record  # noqa: E402
from test_pockd_train import LONG, RECIPE, jobs, night, records, wait_end  # noqa: E402

TIMES = int(sys.argv[1]) if len(sys.argv) > 1 else 2
SEED = int(sys.argv[2]) if len(sys.argv) > 2 else 1
RECORDS = 60
CONF = '# what its owner set\nlog_level = info\nlevel_start_pct = 41\nthreads = 1\n'


def prepare(d):
    """Every kind of file: records, versions, a cache, times, a copied model, a checkpoint."""
    d.c.call('data.put_many', records=records(RECORDS), create_stream=True)
    d.c.call('model.remove', model='tiny')
    d.c.call('model.add', path=d.model, name='copy', copy=True)
    with open(os.path.join(d.dir, 'd/pockd.conf'), 'w') as f:
        f.write(CONF)
    d.c.call('tune.run', seconds=1.0, force=True)
    for adapter in ('default', 'other'):
        job = d.c.call('train.start', adapter=adapter, recipe=dict(RECIPE, last_blocks=1), now=True)['job']['id']
        assert wait_end(d, job)['state'] == 'done'
    job = d.c.call('train.start', recipe=LONG)['job']['id']
    wait_for('a checkpoint', 30, lambda: glob.glob(os.path.join(d.dir, 'd/ckpt/*.ckpt')))
    d.c.call('train.pause')
    wait_for('the pause', 30, lambda: jobs(d)[0]['state'] != 'running')
    return job


class Kept:
    """A daemon's directory as it was, to begin from again and again."""

    def __init__(self, d, dir):
        self.d, self.dir = d, os.path.join(dir, 'kept')
        shutil.copytree(os.path.join(d.dir, 'd'), self.dir, ignore=shutil.ignore_patterns('*.sock'))
        self.versions = self.hashes()

    def restore(self):
        shutil.rmtree(os.path.join(self.d.dir, 'd'))
        shutil.copytree(self.dir, os.path.join(self.d.dir, 'd'))

    def hashes(self):
        return {os.path.basename(os.path.dirname(p)) for p in glob.glob(
            os.path.join(self.d.dir, 'd/adapters/*/adapter.gguf'))}


def flip(path, rng):
    with open(path, 'r+b') as f:
        size = f.seek(0, 2)
        for _ in range(rng.choice((1, 3, 30))):
            at = rng.randrange(size)
            f.seek(at)
            byte = f.read(1)[0]
            f.seek(at)
            f.write(bytes([byte ^ 1 << rng.randrange(8)]))


def one(d, pattern):
    paths = sorted(glob.glob(os.path.join(d.dir, 'd', pattern)))
    assert paths, 'there is no file %s to damage' % pattern
    return paths[0]


def says(d, *words):
    """Log, events or jobs hold one of the words."""
    text = d.text() + repr(d.c.call('events.watch')['events']) + repr(d.c.call('status')['problems'])
    return any(w in text for w in words)


def ask(d, method, **params):
    """The answer, or the sentence of a refusal."""
    try:
        return d.c.call(method, **params), None
    except RpcError as e:
        assert len(e.msg) > 10, e
        return None, e


def others_are_whole(d, kept, damaged=None):
    assert d.c.call('data.count')['records'] == RECORDS
    gone = kept.versions - kept.hashes() - {damaged}
    assert not gone, 'adapter files are gone: %s' % gone
    active = {a['name']: a.get('active') for a in d.c.call('adapter.list')['adapters']}
    assert active == {'default': 1, 'other': 1}, active


def learns(d):
    d.c.call('train.cancel')
    wait_for('the queue to be empty', 30, lambda: not jobs(d))
    d.c.call('train.resume')
    return wait_end(d, d.c.call('train.start', adapter='other', recipe=dict(RECIPE, last_blocks=1), now=True)['job']['id'])


def after_database(d, kept, path):
    info = d.c.call('server.info')
    gone = kept.versions - kept.hashes()
    assert not gone, 'adapter files are gone: %s' % gone
    if info['degraded']:
        aside = glob.glob(os.path.join(d.dir, 'd/data.db.corrupt-*'))
        assert aside and any(aside[0] in p for p in d.c.call('status')['problems']), aside
        assert os.path.getsize(aside[0]) >= os.path.getsize(os.path.join(kept.dir, 'data.db'))
        _, e = ask(d, 'data.put', record=record(1), create_stream=True)
        assert e and 'damaged' in e.msg, e
        return
    for method in ('data.count', 'data.list', 'adapter.list', 'model.list', 'train.history', 'events.watch'):
        ask(d, method)


def after_log(d, kept, path):
    # What is behind the first wrong byte never was, as after a loss of power.
    assert d.c.call('data.count')['records'] <= RECORDS + 40
    assert d.c.call('data.count')['records'] >= RECORDS
    others = kept.versions - kept.hashes()
    assert not others, others


def after_adapter(d, kept, path):
    _, e = ask(d, 'gen.start', prompt='bee', max_tokens=2, adapter='default')
    _, o = ask(d, 'gen.start', prompt='bee', max_tokens=2, adapter='other')
    assert (e or o) and 'damaged' in (e or o).msg, (e, o)
    g, e = ask(d, 'gen.start', prompt='bee', max_tokens=2, adapter='none')
    assert g, e
    others_are_whole(d, kept, os.path.basename(os.path.dirname(path)))


def after_checkpoint(d, kept, path):
    d.c.call('train.resume')
    wait_for('a restart', 60, lambda: 'job_restarted' in d.text())
    wait_for('training to go on', 60, lambda: jobs(d)[0]['state'] == 'running' and jobs(d)[0]['step'] > 0)
    others_are_whole(d, kept)


def after_cache(d, kept, path):
    end = learns(d)
    assert end['state'] == 'done', end
    assert says(d, 'damaged', 'another'), d.text()[-800:]
    assert d.c.call('data.count')['records'] == RECORDS


def after_times(d, kept, path):
    end = learns(d)
    assert end['state'] == 'done', end
    assert says(d, 'times') and not os.path.exists(path), d.text()[-800:]
    assert d.c.call('data.count')['records'] == RECORDS


def after_model(d, kept, path):
    others_are_whole(d, kept)
    end = learns(d)
    assert end['state'] == 'done' or len(end['message']) > 10, end


KINDS = [('data.db', after_database), ('data.db-wal', after_log), ('adapters/*/adapter.gguf', after_adapter),
         ('ckpt/*.ckpt', after_checkpoint), ('prefix.cache', after_cache), ('kernel.times', after_times),
         ('models/*', after_model)]


def damaged_files_are_told_of_and_cost_nothing_else():
    rng = random.Random(SEED)
    with tempfile.TemporaryDirectory() as dir, night() as d:
        prepare(d)
        assert d.stop() == 0
        closed = Kept(d, dir)
        d.start()
        d.c = d.client()
        d.c.call('data.put_many', records=records(40, RECORDS), create_stream=True)
        os.mkdir(os.path.join(dir, 'k'))
        d.kill()
        killed = Kept(d, os.path.join(dir, 'k'))
        for pattern, after in KINDS:
            for n in range(TIMES):
                kept = killed if pattern == 'data.db-wal' or pattern == 'data.db' and n % 2 else closed
                damage(d, kept, pattern, after, rng)
        kept.restore()
        d.start()


def damage(d, kept, pattern, after, rng):
    kept.restore()
    path = one(d, pattern)
    flip(path, rng)
    with open(os.path.join(d.dir, 'log'), 'w'):
        pass
    try:
        d.start()
        d.c = d.client()
        after(d, kept, path)
        assert d.c.call('ping') == {}
        assert d.stop() == 0, 'it did not stop well'
    except BaseException:
        print('# %s, seed %d' % (pattern, SEED))
        raise
    finally:
        if d.proc.poll() is None:
            d.kill()


def a_configuration_with_wrong_bytes_is_named_by_its_line():
    rng = random.Random(SEED)
    refused = 0
    with Daemon() as d:
        d.stop()
        path = os.path.join(d.dir, 'd/pockd.conf')
        for _ in range(10 * TIMES):
            with open(path, 'w') as f:
                f.write(CONF)
            flip(path, rng)
            p = subprocess.Popen(d.command(), env=d.env, stderr=subprocess.PIPE)
            wait_for('an answer', 20, lambda: p.poll() is not None or can_ping(d))
            p.terminate()
            text = p.communicate()[1].decode(errors='replace')
            assert p.returncode in (0, 2), (p.returncode, text)
            if p.returncode == 2:
                refused += 1
                assert 'pockd.conf line ' in text or 'log_level' in text, text
        os.unlink(path)
        d.start()
    assert refused > 0
    print('# %d of %d were refused' % (refused, 10 * TIMES))


def can_ping(d):
    try:
        return Client(d.socket).call('ping') == {}
    except (OSError, EOFError):
        return False


def a_database_found_damaged_later_is_moved_aside_by_a_restart():
    with Daemon() as d:
        c = d.client()
        c.call('data.put_many', records=[record(i, text='x' * 3000) for i in range(200)], create_stream=True)
        assert d.stop() == 0
        with open(os.path.join(d.dir, 'd/data.db'), 'r+b') as f:
            size = f.seek(0, 2)
            for at in range(4096 * 60, size, 4096):
                f.seek(at)
                f.write(b'\xff' * 64)
        # It was closed well: a start looks no further than it must.
        d.start()
        _, e = ask_client(d.client(), 'data.erase', stream='notes')
        assert e and 'damaged' in e.msg and 'restart' in e.msg, e
        assert d.stop() == 0
        d.start()
        assert d.client().call('server.info')['degraded'], 'the restart did not look'


def ask_client(c, method, **params):
    try:
        return c.call(method, **params), None
    except RpcError as e:
        return None, e


UNSHARE = ['unshare', '-m'] + ([] if os.geteuid() == 0 else ['-r'])


def mounted(d, plain, mount):
    """A command with `mount` done on the state directory, in a namespace of its own."""
    script = 'set -e; mkdir -p "$1"; %s; shift; exec "$@"' % mount
    return UNSHARE + ['sh', '-c', script, 'sh', os.path.join(d.dir, 'd')] + plain + ['--socket', d.socket]


def can_mount():
    return subprocess.run(UNSHARE + ['mount', '-t', 'tmpfs', 'none', '/mnt'], capture_output=True).returncode == 0


def a_read_only_disk_is_told_of():
    if not can_mount():
        print('# skipped: nothing can be mounted here')
        return
    with Daemon() as d:
        d.client().call('data.put', record=record(1), create_stream=True)
        d.stop()
        before = tree(d)
        p = subprocess.run(mounted(d, d.command(), 'mount --bind "$1" "$1"; mount -o remount,ro,bind "$1"'),
                           env=d.env, capture_output=True, text=True, timeout=30 * SLOW)
        assert p.returncode == 1 and 'cannot start' in p.stderr and 'ead-only' in p.stderr, p
        assert tree(d) == before
        d.start()
        assert d.client().call('data.count')['records'] == 1


def tree(d):
    out = {}
    for root, _, files in os.walk(os.path.join(d.dir, 'd')):
        for name in files:
            with open(os.path.join(root, name), 'rb') as f:
                out[os.path.join(root, name)] = hashlib.sha256(f.read()).hexdigest()
    return out


def a_full_disk_refuses_until_there_is_room_again():
    if not can_mount():
        print('# skipped: nothing can be mounted here')
        return
    d = Daemon()
    d.socket = os.path.join(d.dir, 'sock')
    d.command = lambda: mounted(d, Daemon.command(d), 'mount -t tmpfs -o size=8m,mode=700 none "$1"')
    with d:
        c = d.client()
        ballast = '/proc/%d/root%s/d/ballast' % (d.proc.pid, d.dir)
        with open(ballast, 'wb') as f:
            f.write(bytes(5 << 20))
        acked = fill(c, 0)
        assert acked > 10, acked
        # What was acknowledged is there; what needs room says so.
        assert c.call('data.count')['records'] == acked * 4
        _, e = ask_client(c, 'data.erase', ids=list(range(1, 41)))
        assert e is None or e.name == 'DISK_FULL' and 'free some' in e.msg, e
        os.unlink(ballast)
        there = acked * 4 - c.call('data.erase', ids=list(range(1, 41)))['records']
        assert there == acked * 4 - 40 or e is None, there
        again = fill(c, 10 ** 6)
        assert again >= 1, 'there is no room though some became free'
        assert c.call('data.count')['records'] == acked * 4 - 40 + again * 4


def fill(c, start):
    for i in range(2000):
        try:
            c.call('data.put_many', create_stream=True,
                   records=[record(start + i * 4 + k, text='%d' % k + 'x' * 4000) for k in range(4)])
        except RpcError as e:
            assert e.name == 'DISK_FULL', e
            return i
    raise AssertionError('the disk never filled')


if __name__ == '__main__':
    main([
        damaged_files_are_told_of_and_cost_nothing_else,
        a_configuration_with_wrong_bytes_is_named_by_its_line,
        a_database_found_damaged_later_is_moved_aside_by_a_restart,
        a_read_only_disk_is_told_of,
        a_full_disk_refuses_until_there_is_room_again,
    ])
