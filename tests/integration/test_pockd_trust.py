#!/usr/bin/env python3
# SPDX-FileCopyrightText: the pockd authors
# SPDX-License-Identifier: Apache-2.0
"""An app that means no good: what it learns of others, what it keeps from them, and what outlives its grant."""
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from pockd_rpc import SLOW, Client, Daemon, RpcError, main, pack, wait_for  # noqa: E402
from test_pockd_consent import INFO, app, apps, asking, ctl, owner, put, records, refused, sandboxed  # noqa: E402
from test_pockd_train import RECIPE, jobs, night  # noqa: E402


def in_a_scope(c):
    """Apps have the names that they give, unless all of this runs as one app."""
    if c.hello['app'].startswith('scope:'):
        print('# skipped: this runs in the scope of an app')
        return True
    return False


def an_app_cannot_try_uids_of_others():
    with Daemon() as d:
        a, b = app(d, 'org.example.A'), app(d, 'org.example.B')
        if in_a_scope(a):
            return
        # pockctl makes uids of texts: who guesses a text has its uid.
        path = os.path.join(d.dir, 'diary.txt')
        with open(path, 'w') as f:
            f.write('I never told anybody about the seven hives.\n')
        out = ctl(d, 'data', 'import', path, '--stream', 'notes')
        assert out.returncode == 0, out.stderr
        o = d.client()
        mine = o.call('data.list')['records'][0]
        guess = dict(records(1)[0], uid=mine['uid'], stream=mine['stream'])
        for text in (guess['text'], 'I never told anybody about the seven hives.'):
            r = a.call('data.put', record=dict(guess, text=text, time=mine['time']), create_stream=True) \
                if text == guess['text'] else \
                b.call('data.put', record=dict(guess, text=text, time=mine['time']), create_stream=True)
            # As if nobody had had it before.
            assert r['new'] is True and r['id'] != mine['id'], r
        assert a.call('data.list')['records'][0]['uid'] == mine['uid']
        # A retry is one still, and other content is none.
        retry = a.call('data.put', record=dict(guess, time=mine['time']))
        assert retry['new'] is False and retry['id'] == a.call('data.list')['records'][0]['id'], retry
        refused('CONFLICT', lambda: a.call('data.put', record=dict(guess, text='another', time=mine['time'])))
        # Nor can it take a uid away from its owner beforehand.
        taken = records(1)[0]
        a.call('data.put', record=taken, create_stream=True)
        assert o.call('data.put', record=taken, create_stream=True)['new'] is True
        assert o.call('data.put', record=taken)['new'] is False


def stored_by(o, name):
    return o.call('data.count', app=name)['records']


def nothing_is_stored_after(close, leaves=False):
    """Puts that wait for the store when the owner takes the grant away, from one who waits for answers or not."""
    with asking() as d:
        a, o = app(d, 'org.example.A'), owner(d)
        name = a.hello['app']
        o.call('app.grant', app=name, purposes=['train'])
        put(a)
        frames = []
        for i in range(60):
            frames.append(pack([0, 1000 + i, 'data.put_many', [
                {'records': records(150, text='what it says ' * 40), 'create_stream': True}]]))
        sender = threading.Thread(target=lambda: a.s.sendall(b''.join(frames)))
        sender.start()
        if leaves:
            sender.join()
            a.close()
        wait_for('the first', 20, lambda: stored_by(o, name) > 1)
        close(o, name)
        at = stored_by(o, name)
        sender.join()
        time.sleep(0.5 * SLOW)
        assert at < 60 * 150, 'all was stored before: this shows nothing'
        later = stored_by(o, name)
        assert later == at, '%d records were stored after the answer' % (later - at)
        codes = set()
        for i in range(0 if leaves else 60):
            try:
                a.wait(1000 + i)
            except RpcError as e:
                codes.add(e.name)
        assert leaves or codes == {'NOT_CONSENTED'}, codes


def what_waits_for_the_store_ends_with_a_revocation():
    nothing_is_stored_after(lambda o, name: o.call('app.revoke', app=name))


def what_was_left_behind_ends_with_a_revocation():
    nothing_is_stored_after(lambda o, name: o.call('app.revoke', app=name), leaves=True)


def what_waits_for_the_store_ends_with_the_switch():
    nothing_is_stored_after(lambda o, name: o.call('app.switch', off=True))


def what_waits_for_the_store_ends_with_a_narrower_grant():
    nothing_is_stored_after(lambda o, name: o.call('app.grant', app=name, purposes=['train'],
                                                   streams=['other']))


def the_last_word_of_the_owner_holds():
    with asking() as d:
        a, o = app(d), owner(d)
        name = a.hello['app']
        for _ in range(10):
            # Both are on their way to the store at the same time.
            ids = [o.send('app.grant', app=name, purposes=['train']), o.send('app.revoke', app=name)]
            for id in ids:
                o.wait(id)
            refused('NOT_CONSENTED', lambda: put(a))
            assert apps(o)[name]['state'] == 'revoked', apps(o)[name]
        d.stop()
        d.start()
        a, o = app(d), owner(d)
        assert apps(o)[name]['state'] == 'revoked'
        refused('NOT_CONSENTED', lambda: put(a))
        # And a grant that comes last.
        for id in [o.send('app.revoke', app=name), o.send('app.grant', app=name, purposes=['train'])]:
            o.wait(id)
        put(a)


def a_grant_outlives_an_app_that_asks_for_more_meanwhile():
    with asking() as d:
        o = owner(d)
        for i in range(10):
            a = app(d, 'org.example.A%d' % i, wants=['train'])
            if in_a_scope(a):
                return
            name = a.hello['app']
            more = d.client(hello=False)
            id = o.send('app.grant', app=name, purposes=['train'])
            more.call('hello', proto=[1, 0], client='x', app_hint='org.example.A%d' % i,
                      wants=['train', 'score'])
            o.wait(id)
            assert apps(o)[name]['state'] == 'granted', apps(o)[name]
            assert set(apps(o)[name]['wants']) == {'train', 'score'}, apps(o)[name]
            put(a)
        d.stop()
        d.start()
        o = owner(d)
        assert all(a['state'] == 'granted' for a in apps(o).values()), apps(o)


def a_sandbox_cannot_take_all_connections():
    if os.geteuid() != 0:
        print('# skipped: only root can give a process another root')
        return
    with Daemon() as d:
        def hold(path):
            held = []
            refusals = 0
            for _ in range(40):
                try:
                    held.append(Client(path))
                except (OSError, EOFError):
                    refusals += 1
            # The owner comes while they are held: by the same file, from outside.
            open('/held', 'w').close()
            end = time.time() + 20 * SLOW
            while not os.path.exists('/seen') and time.time() < end:
                time.sleep(0.02)
            return [len(held), refusals]
        result = []
        t = threading.Thread(target=lambda: result.append(sandboxed(d, INFO, hold)))
        t.start()
        wait_for('the app', 20, lambda: os.path.exists(os.path.join(d.dir, 'held')))
        try:
            o = d.client()
            assert apps(o)['flatpak:org.example.Notes']['state'] == 'pending'
            o.call('app.revoke', app='org.example.Notes')
        finally:
            open(os.path.join(d.dir, 'seen'), 'w').close()
            t.join()
        assert 4 <= result[0][0] <= 16 and result[0][1] > 0, result


def inhibitions_of_one_app_leave_others_theirs():
    with Daemon() as d:
        a, b, o = app(d, 'org.example.A'), app(d, 'org.example.B'), d.client()
        if in_a_scope(a):
            return
        got = 0
        try:
            while got < 300:
                a.call('inhibit.acquire', who='editor')
                got += 1
        except RpcError as e:
            assert e.name == 'QUOTA', e
        assert 1 <= got <= 16, got
        b.call('inhibit.acquire', who='player')
        o.call('inhibit.acquire', who='make')


def questions_of_one_app_leave_others_theirs():
    with night() as d:
        a, b = app(d, 'org.example.A'), app(d, 'org.example.B')
        if in_a_scope(a):
            return
        d.c.call('policy.set', values={'app_scores_hour': 0, 'app_answers_hour': 0})
        texts = ['one two three four five six seven eight nine ten ' * 15] * 1000
        ids = [a.send('score', texts=texts) for _ in range(8)]
        for id in ids[4:]:
            refused('BUSY', lambda: a.wait(id))
        theirs = [b.send('score', texts=['one two three']), d.c.send('score', texts=['one two three'])]
        d.c.call('app.revoke', app=a.hello['app'])
        for id in ids[:4]:
            refused('CANCELLED', lambda: a.wait(id))
        assert len(b.wait(theirs[0])['scores']) == 1 and len(d.c.wait(theirs[1])['scores']) == 1


def who_has_nothing_stops_no_job_by_erasing():
    with night() as d:
        o, a = d.c, app(d, 'org.example.A')
        if in_a_scope(a):
            return
        o.call('app.revoke', app=a.hello['app'])
        put(o, 40)
        o.call('train.start', recipe=dict(RECIPE, epochs=1000, patience=1000))
        wait_for('some steps', 60, lambda: jobs(d) and jobs(d)[0]['step'] >= 3)
        # It was granted nothing, and never gave anything.
        for params in ({'all': True}, {'ids': [1]}, {'stream': 'notes'}):
            before = jobs(d)[0]['step']
            out = a.call('data.erase', **params)
            assert out['records'] == 0 and out['used_by'] == [] and out['done'] is True, out
            assert jobs(d)[0]['step'] >= before, (jobs(d)[0]['step'], before)
            assert jobs(d)[0]['state'] == 'running', jobs(d)[0]['state']
        # What it gave it can take back, whatever learns from it.
        o.call('app.grant', app=a.hello['app'], purposes=['train'])
        put(a, 2)
        o.call('app.revoke', app=a.hello['app'])
        assert a.call('data.erase', all=True)['records'] == 2


def an_export_that_is_read_slowly_keeps_nobody_waiting():
    with Daemon() as d:
        a, o = app(d, 'org.example.A'), d.client()
        for _ in range(3):
            put(a, 20, text='what it says ' * 1500)
        r, w = os.pipe()
        id = a.send('data.export', fd=w)
        os.close(w)
        stop = threading.Event()

        def dribble():
            while not stop.wait(0.05 * SLOW) and os.read(r, 4096):
                pass
        reader = threading.Thread(target=dribble)
        reader.start()
        try:
            time.sleep(0.2)
            begin = time.monotonic()
            o.call('app.revoke', app=a.hello['app']) if not a.hello['app'].startswith('scope:') else None
            o.call('data.count')
            took = time.monotonic() - begin
            assert took < 4 * SLOW, took
            refused('TIMEOUT', lambda: a.wait(id))
        finally:
            stop.set()
            reader.join()
            os.close(r)


def questions_of_apps_take_turns():
    with night() as d:
        a, b = app(d, 'org.example.A'), app(d, 'org.example.B')
        if in_a_scope(a):
            return
        d.c.call('policy.set', values={'app_scores_hour': 0})
        texts = ['one two three four five six seven eight nine ten ' * 15] * 100
        ids = [a.send('score', texts=texts) for _ in range(4)]
        wait_for('the worker', 30, lambda: 'event=device' in d.text())
        # Who comes later waits for one question of the other app, not for all.
        late = [b.send('score', texts=['one two three']), d.c.send('score', texts=['one two three'])]
        b.wait(late[0]), d.c.wait(late[1])
        a.s.setblocking(False)
        done = 0
        try:
            while a.recv():
                done += 1
        except BlockingIOError:
            pass
        a.s.settimeout(60 * SLOW)
        assert done <= 2, done
        # One that waits for its turn ends at once when it is cancelled.
        a.notify('$/cancel', id=ids[3])
        refused('CANCELLED', lambda: a.wait(ids[3]))


def an_app_is_told_no_path_of_the_owner():
    with night() as d:
        a = app(d, 'org.example.A')
        if in_a_scope(a):
            return
        os.rename(d.model, d.model + '.moved')
        e = refused('NO_MODEL', lambda: a.call('gen.start', prompt='x'))
        assert d.dir not in e.msg and 'is gone' in e.msg, e.msg
        assert d.model in refused('NO_MODEL', lambda: d.c.call('gen.start', prompt='x')).msg


def an_app_that_fills_the_disk_leaves_the_owner_room():
    unshare = ['unshare', '-m'] + ([] if os.geteuid() == 0 else ['-r'])
    if subprocess.run(unshare + ['mount', '-t', 'tmpfs', 'none', '/mnt'], capture_output=True).returncode:
        print('# skipped: nothing can be mounted here')
        return
    d = Daemon(args=['--consent', 'ask'])
    d.socket = os.path.join(d.dir, 'sock')
    plain = d.command() + ['--socket', d.socket]
    script = 'set -e; mkdir -p "$1"; mount -t tmpfs -o size=80m,mode=700 none "$1"; shift; exec "$@"'
    d.command = lambda: unshare + ['sh', '-c', script, 'sh', os.path.join(d.dir, 'd')] + plain
    with d:
        a, o = app(d, 'org.example.A'), owner(d)
        name = a.hello['app']
        o.call('app.grant', app=name, purposes=['train'])

        def fill():
            for _ in range(400):
                put(a, 40, text='what it says ' * 1200)
        e = refused('DISK_FULL', fill)
        assert '64 MiB' in e.msg, e.msg
        put(o, 40, text='what the owner says ' * 1000)
        o.call('app.revoke', app=name)
        assert o.call('data.erase', app=name)['records'] > 40
        assert o.call('data.count')['records'] == 40


def refuses_a_directory_that_others_may_write():
    dir = tempfile.mkdtemp(prefix='pockd-trust-')
    try:
        for mode, uid, word in ((0o777, -1, 'write'), (0o770, -1, 'write'), (0o700, 12345, 'belongs')):
            if uid >= 0 and os.geteuid() != 0:
                continue
            state = os.path.join(dir, 'd')
            os.makedirs(state)
            os.chmod(state, mode)
            os.chown(state, uid, -1)
            out = subprocess.run(Daemon(dir=dir).command(), capture_output=True, text=True,
                                 timeout=20 * SLOW)
            assert out.returncode == 1 and word in out.stderr and state in out.stderr, out.stderr
            assert os.listdir(state) == [], os.listdir(state)
            os.rmdir(state)
    finally:
        shutil.rmtree(dir, ignore_errors=True)


if __name__ == '__main__':
    main([
        an_app_cannot_try_uids_of_others,
        what_waits_for_the_store_ends_with_a_revocation,
        what_was_left_behind_ends_with_a_revocation,
        what_waits_for_the_store_ends_with_the_switch,
        what_waits_for_the_store_ends_with_a_narrower_grant,
        the_last_word_of_the_owner_holds,
        a_grant_outlives_an_app_that_asks_for_more_meanwhile,
        a_sandbox_cannot_take_all_connections,
        inhibitions_of_one_app_leave_others_theirs,
        questions_of_one_app_leave_others_theirs,
        who_has_nothing_stops_no_job_by_erasing,
        an_export_that_is_read_slowly_keeps_nobody_waiting,
        questions_of_apps_take_turns,
        an_app_is_told_no_path_of_the_owner,
        an_app_that_fills_the_disk_leaves_the_owner_room,
        refuses_a_directory_that_others_may_write,
    ])
