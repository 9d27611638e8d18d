#!/usr/bin/env python3
# SPDX-FileCopyrightText: the pockd authors
# SPDX-License-Identifier: Apache-2.0
"""Who may do what: apps, grants, their ends, and the one switch."""
import json
import os
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from pockd_rpc import BUILD, SLOW, Client, Daemon, RpcError, in_child, main, pack, wait_for  # noqa: E402
from test_pockd_train import RECIPE, night, wait_end  # noqa: E402

POCKCTL = os.path.join(BUILD, 'clients/pockctl/pockctl')
last_uid = 0


def records(n, stream='notes', text='a note of an app'):
    global last_uid
    out = []
    for _ in range(n):
        last_uid += 1
        out.append({'uid': last_uid.to_bytes(16, 'big'), 'kind': 'text', 'stream': stream,
                    'time': 1740787200000, 'text': '%s %d' % (text, last_uid)})
    return out


def refused(name, fn):
    try:
        fn()
    except RpcError as e:
        assert e.name == name, e
        return e
    raise AssertionError('%s was expected' % name)


def app(d, hint='org.example.Editor', **hello):
    """A program outside of any sandbox that says it is an app."""
    c = d.client(hello=False)
    c.hello = c.call('hello', proto=[1, 0], client='editor/1', app_hint=hint, **hello)
    return c


def owner(d):
    c = d.client(hello=False)
    c.hello = c.call('hello', proto=[1, 0], client='tool/1', role='owner')
    return c


def apps(c):
    return {a['name']: a for a in c.call('app.list')['apps']}


def put(c, n=1, **kw):
    return c.call('data.put_many', records=records(n, **kw), create_stream=True)


def asking(args=()):
    return Daemon(args=['--consent', 'ask'] + list(args))


def ctl(d, *args, **kw):
    return subprocess.run([POCKCTL, '--socket', d.socket] + list(args), capture_output=True,
                          text=True, timeout=60 * SLOW, **kw)


def the_owner_is_let_in_without_a_word_by_its_own_daemon():
    with Daemon() as d:
        c = d.client()
        assert c.hello['grants'] == ['owner'] and c.hello['app'] == 'host', c.hello
        assert 'train.start' in c.hello['methods']
        put(c)
        assert apps(c) == {}


def a_new_app_waits_until_it_is_granted():
    with asking() as d:
        a, o = app(d), owner(d)
        name = a.hello['app']
        assert name == 'host:org.example.Editor' or name.startswith('scope:'), name
        assert a.hello['grants'] == [] and a.hello['consent'] == 'pending', a.hello
        assert 'train.start' not in a.hello['methods'] and 'data.put' in a.hello['methods']
        e = refused('NOT_CONSENTED', lambda: put(a))
        assert e.data['app'] == name and e.data['purpose'] == 'train' and 'pockctl grant' in e.msg, e.msg
        for call in (lambda: a.call('data.list'), lambda: a.call('data.count'),
                     lambda: a.call('gen.start', prompt='x'), lambda: a.call('score', texts=['x y']),
                     lambda: a.call('inhibit.acquire', who='x')):
            refused('NOT_CONSENTED', call)
        for method in ('train.status', 'status', 'policy.get', 'app.list', 'adapter.list'):
            refused('DENIED', lambda: a.call(method))
        # Events take their turn with what clients ask.
        wait_for('the event', 10, lambda: any(e['kind'] == 'app_pending'
                                              for e in o.call('events.watch')['events']))
        assert apps(o)[name]['state'] == 'pending' and o.call('status')['apps_pending'] == 1
        o.call('app.grant', app=name.split(':')[1], purposes=['train'])
        # The connection that waited may go on.
        put(a)
        refused('NOT_CONSENTED', lambda: a.call('score', texts=['x y']))
        assert a.call('data.count')['records'] == 1
        row = apps(o)[name]
        assert row['state'] == 'granted' and row['purposes'] == ['train'] and row['records'] == 1, row
        assert row['strength'] in ('uid', 'scope') and row['client'] == 'editor/1' and row['last'] > 0, row


def a_programs_silence_makes_it_an_app_where_consent_is_asked_for():
    with asking() as d:
        c = d.client()
        assert c.hello['consent'] == 'pending' and c.hello['app'] != 'host', c.hello
        refused('NOT_CONSENTED', lambda: put(c))
        # Who it is was settled by the first hello.
        again = c.call('hello', proto=[1, 0], client='test/1', role='owner')
        assert again['grants'] == [], again
        refused('BAD_PARAMS', lambda: d.client(hello=False).call('hello', proto=[1, 0], client='x', role='root'))
        refused('BAD_PARAMS', lambda: app(d, hint='...'))
        refused('BAD_PARAMS', lambda: app(d, wants=['everything']))


def an_app_sees_its_own_records_only():
    with Daemon() as d:
        o, a, b = d.client(), app(d, 'org.example.A'), app(d, 'org.example.B')
        assert a.hello['consent'] == 'granted', a.hello
        if a.hello['app'].startswith('scope:'):
            print('# skipped: this runs in the scope of an app')
            return
        mine = put(o, 1, text='the owner wrote')['ids'][0]
        of_a = put(a, 2, text='A wrote')['ids']
        of_b = put(b, 3, text='B wrote')['ids']
        assert [r['id'] for r in a.call('data.list')['records']] == of_a
        assert [r['id'] for r in b.call('data.list', ids=of_a + of_b + [mine])['records']] == of_b
        assert a.call('data.count')['records'] == 2
        assert [s['name'] for s in a.call('data.count')['streams']] == ['notes']
        for other in (mine, of_b[0], 999):
            e = refused('NOT_FOUND', lambda: a.call('data.get', ids=[other]))
            assert 'there is no record %d' % other in e.msg
        assert a.call('data.get', ids=of_a)['records'][0]['text'].startswith('A wrote')
        # It cannot name another app's either.
        assert a.call('data.list', app=b.hello['app'])['records'][0]['id'] == of_a[0]
        with tempfile.TemporaryFile() as f:
            assert a.call('data.export', fd=f.fileno())['records'] == 2
            f.seek(0)
            text = f.read().decode()
            assert 'A wrote' in text and 'B wrote' not in text and 'owner' not in text, text
        assert a.call('data.erase', ids=of_a[:1] + of_b + [mine])['records'] == 1
        assert a.call('data.erase', all=True)['records'] == 1
        assert o.call('data.count')['records'] == 4
        assert o.call('data.count', app=b.hello['app'])['records'] == 3
        assert o.call('data.count', app='host')['records'] == 1
        assert {s['app'] for s in o.call('data.count')['streams']} >= {'host', b.hello['app']}
        assert o.call('data.erase', app=b.hello['app'])['records'] == 3


def an_export_keeps_to_the_stream_that_was_named():
    with Daemon() as d:
        o = d.client()
        put(o, 2, stream='notes')
        put(o, 3, stream='letters')
        with tempfile.TemporaryFile() as f:
            assert o.call('data.export', fd=f.fileno(), stream='letters')['records'] == 3


def what_was_granted_is_all_that_is_taken():
    with asking() as d:
        a, o = app(d), owner(d)
        name = a.hello['app']
        o.call('app.grant', app=name, purposes=['train'], kinds=['text'], streams=['drafts', 'notes'])
        put(a, 1, stream='notes')
        e = refused('NOT_CONSENTED', lambda: put(a, 1, stream='mail'))
        assert e.data['index'] == 0 and 'mail' in e.msg, e.msg
        pair = dict(records(1)[0], kind='pair', prompt='a', completion='b')
        del pair['text']
        refused('NOT_CONSENTED', lambda: a.call('data.put', record=pair, create_stream=True))
        row = apps(o)[name]
        assert row['kinds'] == ['text'] and row['streams'] == ['drafts', 'notes'], row
        refused('BAD_PARAMS', lambda: o.call('app.grant', app=name, purposes=['all']))
        refused('BAD_PARAMS', lambda: o.call('app.grant', app=name, purposes=['train'], kinds=['song']))
        refused('NOT_FOUND', lambda: o.call('app.grant', app='org.example.None', purposes=['train']))


def a_whole_name_may_be_granted_before_it_asks():
    with asking() as d:
        o = owner(d)
        o.call('app.grant', app='host:org.example.Later', purposes=['train', 'score'])
        a = app(d, 'org.example.Later')
        if a.hello['app'].startswith('scope:'):
            return
        assert a.hello['grants'] == ['train', 'score'], a.hello
        put(a)
        o.call('app.grant', app='flatpak:org.example.Later', purposes=['train'])
        e = refused('CONFLICT', lambda: o.call('app.revoke', app='org.example.Later'))
        assert 'whole name' in e.msg


def a_revocation_holds_at_once_and_over_restarts():
    with asking() as d:
        a, o = app(d), owner(d)
        name = a.hello['app']
        o.call('app.grant', app=name, purposes=['train', 'generate'])
        put(a)
        o.call('app.revoke', app=name, purposes=['generate'])
        put(a)
        o.call('app.revoke', app=name)
        e = refused('NOT_CONSENTED', lambda: put(a))
        assert e.data['state'] == 'revoked', e.data
        d.stop()
        d.start()
        a, o = app(d), owner(d)
        assert a.hello['consent'] == 'revoked' and a.hello['grants'] == [], a.hello
        # The records are there until they are erased; the app itself may do that.
        assert apps(o)[name]['records'] == 2
        assert a.call('data.erase', all=True)['records'] == 2


def a_grant_ends_with_its_time():
    with asking() as d:
        a, o = app(d), owner(d)
        name = a.hello['app']
        o.call('app.grant', app=name, purposes=['train'], duration_ms=int(1500 * SLOW))
        put(a)
        assert apps(o)[name]['expires'] > time.time() * 1000 - 1000
        wait_for('the end', 10, lambda: apps(o)[name]['state'] == 'expired')
        e = refused('NOT_CONSENTED', lambda: put(a))
        assert e.data['state'] in ('expired', 'revoked'), e.data
        wait_for('an event', 10, lambda: any(e['kind'] == 'grant_expired'
                                             for e in o.call('events.watch')['events']))


def records_go_when_their_days_have_passed():
    with Daemon() as d:
        o, a, b = d.client(), app(d, 'org.example.A'), app(d, 'org.example.B')
        if a.hello['app'].startswith('scope:'):
            return
        o.call('app.grant', app=a.hello['app'], purposes=['train'], retention_days=2)
        old = put(a, 3)['ids']
        put(b, 1)
        put(o, 1)
        d.stop()
        with sqlite3.connect(os.path.join(d.dir, 'd', 'data.db')) as db:
            db.execute('UPDATE records SET added_ms = added_ms - 3 * 86400000 WHERE id != ?', (old[0],))
        db.close()
        d.start()
        o = d.client()
        wait_for('the sweep', 20, lambda: o.call('data.count', app=a.hello['app'])['records'] == 1)
        assert o.call('data.count')['records'] == 3
        wait_for('an event', 10, lambda: any(e['kind'] == 'records_erased' and '2 records' in e['text']
                                             for e in o.call('events.watch')['events']))


def jobs_learn_from_what_was_granted_only():
    with night() as d:
        a = app(d, 'org.example.A')
        name = a.hello['app']
        put(a, 40, text='one two three')
        d.c.call('app.revoke', app=name)
        job = d.c.call('train.start', recipe=RECIPE, now=True)['job']['id']
        end = wait_end(d, job)
        assert end['state'] == 'failed' and 'no records' in end['message'], end
        d.c.call('app.grant', app=name, purposes=['train'])
        put(d.c, 30, text='four five six')
        job = d.c.call('train.start', recipe=RECIPE)['job']['id']
        end = wait_end(d, job)
        assert end['state'] == 'done' and end['records'] + end.get('heldout_records', 0) >= 70, end
        d.c.call('app.revoke', app=name)
        job = d.c.call('train.start', recipe=RECIPE)['job']['id']
        end = wait_end(d, job)
        assert end['state'] == 'done' and end['records'] <= 30, end


def stops_the_job_that_reads(take_away):
    with night() as d:
        a = app(d, 'org.example.A')
        put(a, 40, text='one two three')
        put(d.c, 40, text='four five six')
        job = d.c.call('train.start', recipe=dict(RECIPE, epochs=1000, patience=1000))['job']['id']
        wait_for('a step', 60, lambda: [j for j in d.c.call('train.status')['jobs'] if j['step'] > 0])
        take_away(d.c, a.hello['app'])
        wait_for('the job with fewer records', 60, lambda: [
            j for j in d.c.call('train.status')['jobs'] if j['id'] == job and j.get('records') == 40])
        d.c.call('train.cancel', job=job)


def a_revocation_stops_the_job_that_reads():
    stops_the_job_that_reads(lambda c, name: c.call('app.revoke', app=name))


def a_narrower_grant_stops_the_job_that_reads():
    stops_the_job_that_reads(lambda c, name: c.call('app.grant', app=name, purposes=['train'], streams=['other']))


def what_an_app_has_under_way_ends_with_its_grant():
    with night() as d:
        a = app(d, 'org.example.A')
        d.c.call('policy.set', values={'app_scores_hour': 0})
        a.call('inhibit.acquire', who='editor')
        assert len(d.c.call('status')['inhibitors']) == 1
        texts = ['one two three four five six seven eight nine ten ' * 15] * 1000
        id = a.send('score', texts=texts, stream=True)
        wait_for('the worker', 30, lambda: 'event=device' in d.text())
        d.c.call('app.revoke', app=a.hello['app'])
        refused('CANCELLED', lambda: a.wait(id))
        assert d.c.call('status')['inhibitors'] == []
        assert a.call('ping') == {}


def scores_of_an_app_have_a_limit():
    with Daemon() as d:
        o, a = d.client(), app(d)
        o.call('policy.set', values={'app_scores_hour': 10, 'app_answers_hour': 1})
        # There is no model, and asking costs all the same.
        refused('NO_MODEL', lambda: a.call('score', texts=['x y'] * 9))
        id = a.send('score', texts=['x y'] * 2)
        while True:
            m = a.recv()
            if m[0] == 1 and m[1] == id:
                break
        assert m[2]['name'] == 'QUOTA' and 0 < m[2]['retry_ms'] <= 360000, m
        e = refused('QUOTA', lambda: a.call('score', texts=['x y'] * 11))
        assert 'app_scores_hour' in e.msg and 'at once' in e.msg, e.msg
        refused('NO_MODEL', lambda: a.call('gen.start', prompt='x'))
        refused('QUOTA', lambda: a.call('gen.start', prompt='x'))
        # The owner's own tools have none.
        for _ in range(5):
            refused('NO_MODEL', lambda: o.call('score', texts=['x y'] * 9))


def sandboxed(d, info, script):
    """A process whose root holds .flatpak-info, as a sandbox's does, runs script(client)."""
    path = os.path.join(d.dir, '.flatpak-info')
    if info is not None:
        with open(path, 'w') as f:
            f.write(info)

    def run():
        os.chroot(d.dir)
        os.chdir('/')
        return script('/d/pockd.sock')
    out = in_child(run)
    if info is not None:
        os.unlink(path)
    return out


INFO = '[Application]\nname=org.example.Notes\nruntime=runtime/org.example.Platform/x86_64/1\n'


def a_sandboxed_app_is_never_the_owner():
    if os.geteuid() != 0:
        print('# skipped: only root can give a process another root')
        return
    # Also where the owner's own programs need no grant, and as root.
    with Daemon() as d:
        def greet(path):
            c = Client(path)
            out = [c.hello['app'], c.hello['grants'], c.hello.get('consent')]
            for method in ('app.list', 'status'):
                try:
                    c.call(method)
                    out.append('done')
                except RpcError as e:
                    out.append(e.name)
            try:
                c.call('data.put_many', records=records(1), create_stream=True)
                out.append('done')
            except RpcError as e:
                out.append(e.name)
            try:
                c = Client(path, hello=False)
                c.call('hello', proto=[1, 0], client='x', role='owner')
                out.append('done')
            except RpcError as e:
                out.append(e.name)
            return out
        name = 'flatpak:org.example.Notes'
        assert sandboxed(d, INFO, greet) == [name, [], 'pending', 'DENIED', 'DENIED', 'NOT_CONSENTED',
                                             'DENIED']
        o = d.client()
        assert apps(o)[name]['strength'] == 'sandboxed', apps(o)
        o.call('app.grant', app='org.example.Notes', purposes=['train'])
        assert sandboxed(d, INFO, greet) == [name, ['train'], 'granted', 'DENIED', 'DENIED', 'done',
                                             'DENIED']
        # A sandbox that does not say which app it is gets no answer at all.
        for bad in ('[Runtime]\nname=x\n', '', '[Application]\nname=a\nname=b\n'):
            out = sandboxed(d, bad, greet)
            assert 'hung up' in out or 'Reset' in out or 'Broken' in out, out
        assert 'event=client_refused' in d.text()
        # An empty root is no sandbox that is known here: the owner's own program.
        assert sandboxed(d, None, greet)[0] == 'host'


def connections_are_handed_over_with_a_name():
    with asking() as d:
        o = owner(d)
        path = os.path.join(d.dir, 'agent.sock')
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen()

        def accepted():
            peer = socket.socket(socket.AF_UNIX)
            peer.connect(path)
            peer.settimeout(20 * SLOW)
            return peer, listener.accept()[0]
        peer, fd = accepted()
        assert o.call('app.attest', fd=fd.fileno(), app='flatpak:org.example.Notes') == {}
        fd.close()
        c = Client.__new__(Client)
        c.s, c.buf, c.id, c.items, c.answers = peer, b'', 0, [], {}
        hello = c.call('hello', proto=[1, 0], client='notes/1')
        assert hello['app'] == 'flatpak:org.example.Notes' and hello['consent'] == 'pending', hello
        assert apps(o)['flatpak:org.example.Notes']['strength'] == 'sandboxed'
        o.call('app.grant', app='org.example.Notes', purposes=['train'])
        assert c.call('data.put_many', records=records(1), create_stream=True)['new'] == 1
        # Without a name it is looked at as if it had come by itself.
        peer, fd = accepted()
        o.call('app.attest', fd=fd.fileno())
        fd.close()
        c2 = Client.__new__(Client)
        c2.s, c2.buf, c2.id, c2.items, c2.answers = peer, b'', 0, [], {}
        assert c2.call('hello', proto=[1, 0], client='tool/1', role='owner')['grants'] == ['owner']
        # Names that nobody can vouch for, and what is no connection.
        for name in ('host:x', 'scope:x', 'snap:x', 'flatpak:', 'x'):
            peer, fd = accepted()
            refused('BAD_PARAMS', lambda: o.call('app.attest', fd=fd.fileno(), app=name))
            fd.close()
            assert peer.recv(16) == b''
        with tempfile.TemporaryFile() as f:
            refused('BAD_PARAMS', lambda: o.call('app.attest', fd=f.fileno(), app='flatpak:a'))
        refused('BAD_PARAMS', lambda: o.call('app.attest', fd=listener.fileno(), app='flatpak:a'))
        # An app vouches for nobody.
        peer, fd = accepted()
        refused('DENIED', lambda: c.call('app.attest', fd=fd.fileno(), app='flatpak:b'))


def a_flood_of_names_does_not_fill_the_table():
    with asking(['--connections-uid-max', '1000', '--connections-max', '1000']) as d:
        first = app(d, 'org.example.App0')
        if first.hello['app'].startswith('scope:'):
            return
        for i in range(1, 64):
            app(d, 'org.example.App%d' % i)
        refused('QUOTA', lambda: app(d, 'org.example.App64'))
        o = owner(d)
        o.call('app.grant', app='org.example.App0', purposes=['train'])
        put(first)
        app(d, 'org.example.App64')


def hello_is_whole_or_refused():
    with asking() as d:
        # Keys of hello with wrong types, sizes and contents.
        for extra in ({'role': 7}, {'role': 'x' * 9}, {'wants': []}, {'wants': ['train'] * 4},
                      {'wants': [1]}, {'wants': 'train'}, {'app_hint': 'x' * 65}, {'app_hint': b'x'},
                      {'app_hint': '\U0001f41d'}):
            c = d.client(hello=False)
            e = refused('BAD_PARAMS', lambda: c.call('hello', proto=[1, 0], client='x', **extra))
            assert e.msg, e
        # And whatever else: the daemon goes on.
        c = d.client(hello=False)
        c.s.sendall(pack([0, 1, 'hello', [{'proto': [1, 0], 'client': 'x', '!role': 'owner'}]]))
        assert c.recv()[2]['name'] == 'BAD_PARAMS'
        assert owner(d).call('ping') == {}


def commands_show_grant_revoke_and_switch():
    with asking() as d:
        a = app(d)
        name = a.hello['app']
        r = ctl(d, 'apps')
        assert r.returncode == 0 and name in r.stdout and 'pending' in r.stdout, r
        r = ctl(d, 'grant', name.split(':')[1], 'train', 'score', '--for', '7d', '--retention', '90d')
        assert r.returncode == 0, r
        put(a)
        row = json.loads(ctl(d, 'apps', '--json').stdout)['apps'][0]
        assert row['purposes'] == ['train', 'score'] and row['retention_days'] == 90, row
        assert 6.9 < (row['expires'] / 1000 - time.time()) / 86400 < 7.1, row
        r = ctl(d, 'grant', name, 'everything')
        assert r.returncode == 2 and 'generate' in r.stderr, r
        r = ctl(d, 'grant', 'org.example.None', 'train')
        assert r.returncode == 5 and 'pockctl apps' in r.stderr, r
        r = ctl(d, 'off')
        assert r.returncode == 0, r
        refused('NOT_CONSENTED', lambda: put(a))
        for words in (['status'], ['why'], ['doctor'], ['apps']):
            r = ctl(d, *words)
            assert 'pockctl on' in r.stdout + r.stderr or 'pockctl off' in r.stdout + r.stderr, (words, r)
        assert ctl(d, 'on').returncode == 0
        put(a)
        r = ctl(d, 'revoke', name)
        assert r.returncode == 0 and '--erase' in r.stderr, r
        assert apps(owner(d))[name]['records'] == 2
        r = ctl(d, 'revoke', name, '--erase', '--yes')
        assert r.returncode == 0 and 'erased 2 records' in r.stdout, r
        assert apps(owner(d))[name]['records'] == 0
        assert ctl(d, 'apps', '-q').stdout.strip() == name


if __name__ == '__main__':
    main([
        the_owner_is_let_in_without_a_word_by_its_own_daemon,
        a_new_app_waits_until_it_is_granted,
        a_programs_silence_makes_it_an_app_where_consent_is_asked_for,
        an_app_sees_its_own_records_only,
        an_export_keeps_to_the_stream_that_was_named,
        what_was_granted_is_all_that_is_taken,
        a_whole_name_may_be_granted_before_it_asks,
        a_revocation_holds_at_once_and_over_restarts,
        a_grant_ends_with_its_time,
        records_go_when_their_days_have_passed,
        jobs_learn_from_what_was_granted_only,
        a_revocation_stops_the_job_that_reads,
        a_narrower_grant_stops_the_job_that_reads,
        what_an_app_has_under_way_ends_with_its_grant,
        scores_of_an_app_have_a_limit,
        a_sandboxed_app_is_never_the_owner,
        connections_are_handed_over_with_a_name,
        a_flood_of_names_does_not_fill_the_table,
        hello_is_whole_or_refused,
        commands_show_grant_revoke_and_switch,
    ])
