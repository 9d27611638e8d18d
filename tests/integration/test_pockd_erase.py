#!/usr/bin/env python3
# SPDX-FileCopyrightText: the pockd authors
# SPDX-License-Identifier: Apache-2.0
"""Erasing, forgetting and keys, in a real pockd that is killed on the way."""
import os
import sqlite3
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from pockd_rpc import BUILD, RpcError, main, places, wait_for  # noqa: E402
from test_pockd_train import RECIPE, jobs, night, records, wait_end  # noqa: E402

SECRET = 'the vault opens with walnut seven'


def secrets(n):
    return [dict(r, text='%s, %d' % (SECRET, i)) for i, r in
            enumerate(records(n, start=1000, stream='secrets'))]


def versions(d):
    return d.c.call('adapter.list')['adapters'][0]['versions']


def learn(d):
    job = d.c.call('train.start', recipe=RECIPE)['job']['id']
    end = wait_end(d, job)
    assert end['state'] == 'done', end
    return versions(d)[-1]


def learned_again(d):
    """The version of the job that an erase queued."""
    wait_for('the version learned again', 120, lambda: len(versions(d)) > 1 and not jobs(d))
    return versions(d)[-1]


def put(d, batch):
    d.c.call('data.put_many', records=batch, create_stream=True)


def what_is_learned_again_is_what_it_would_have_been_without_them():
    with night() as d:
        put(d, records(20))
        put(d, records(30, start=20))
        clean = learn(d)['sha256']
    with night() as d:
        put(d, records(20))
        put(d, secrets(8))
        put(d, records(30, start=20))
        with_secrets = learn(d)
        assert with_secrets['sha256'] != clean
        plan = d.c.call('data.erase', stream='secrets', dry_run=True)
        assert (plan['records'], plan['jobs'], plan['done']) == (8, 1, False), plan
        assert plan['used_by'] == [{'adapter': 'default', 'version': 1, 'active': True}], plan
        assert not jobs(d)
        done = d.c.call('data.erase', stream='secrets')
        assert (done['records'], done['jobs'], done['done']) == (8, 1, True), done
        assert versions(d)[0]['state'] == 'retired'
        again = learned_again(d)
        assert again['version'] == 2 and again['state'] == 'active', again
        assert again['sha256'] == clean, 'not the bytes of a version that never saw them'
        said = [e['text'] for e in d.c.call('events.watch', kinds=['job_queued'])['events']]
        assert 'it learns again what remains after an erase' in said, said


def the_newest_clean_version_is_where_it_goes_on():
    with night() as d:
        put(d, records(40))
        first = learn(d)
        put(d, secrets(8))
        second = learn(d)
        assert second['parent'] == first['version'] and second['state'] == 'active', second
        d.c.call('data.erase', stream='secrets')
        wait_for('the third version', 120, lambda: len(versions(d)) == 3 and not jobs(d))
        third = versions(d)[-1]
        assert third['parent'] == first['version'], third
        assert versions(d)[1]['state'] == 'retired'


def files(d):
    for top, _, names in os.walk(os.path.join(d.dir, 'd')):
        for name in names:
            path = os.path.join(top, name)
            if not name.endswith('.sock'):
                with open(path, 'rb') as f:
                    yield path, f.read()


def rows(d, sql):
    """From a copy, because the daemon has the file to itself."""
    db = sqlite3.connect('file:%s/d/data.db?mode=ro&immutable=1' % d.dir, uri=True)
    try:
        return db.execute(sql).fetchall()
    finally:
        db.close()


def killed_between_all_steps_it_is_done_after_the_next_start():
    for step in places():
        with night() as d:
            put(d, records(20))
            put(d, secrets(8))
            learn(d)
            d.stop()
            # What must be nowhere afterwards: bodies, keys, the adapter.
            gone = [b[0][8:40] for b in rows(d, 'SELECT r.body FROM records r JOIN streams s ON s.id ='
                                                " r.stream_id WHERE s.name = 'secrets'")]
            gone += [b[0][:32] for b in rows(d, 'SELECT sealed FROM keys UNION SELECT sealed FROM files')]
            assert len(gone) >= 10 and all(any(g in data for _, data in files(d)) for g in gone)
            d.env['POCK_FAULT'] = 'step:%d' % step
            d.start()
            d.c = d.client()
            d.c.call('train.pause')
            try:
                d.c.call('data.erase', stream='secrets')
                was_killed = False
            except (EOFError, ConnectionError):
                was_killed = True
                d.proc.wait()
            del d.env['POCK_FAULT']
            if was_killed:
                d.start()
                d.c = d.client()
            assert d.c.call('data.count')['records'] == 20
            assert versions(d)[0]['state'] == 'retired'
            assert len(jobs(d)) == 1, jobs(d)
            for path, data in files(d):
                for g in gone:
                    assert g not in data, path
            if not was_killed:
                break
    print('# killed up to place %d' % (step - 1))
    assert step > 10


def records_go_when_their_time_is_up():
    with night() as d:
        put(d, records(20))
        put(d, records(5, start=100, stream='letters'))
        learn(d)
        assert d.c.call('data.retention')['streams'] == [
            {'stream': 'letters', 'days': 90, 'own': False},
            {'stream': 'notes', 'days': 90, 'own': False}]
        d.stop()
        # A hundred days later: the clock cannot be moved, so the records are.
        db = sqlite3.connect(os.path.join(d.dir, 'd/data.db'))
        db.execute('UPDATE records SET added_ms = added_ms - 100 * 86400000')
        db.commit()
        db.close()
        d.start()
        d.c = d.client()
        d.c.call('train.pause')
        out = d.c.call('data.retention', stream='letters', days=0)['streams']
        assert out[0] == {'stream': 'letters', 'days': 0, 'own': True}, out
        wait_for('the notes to go', 30, lambda: d.c.call('data.count')['records'] == 5)
        assert versions(d)[0]['state'] == 'active', 'what was learned stays'
        # But it is still known from what it learned.
        plan = d.c.call('data.erase', stream='notes', dry_run=True)
        assert plan['records'] == 0 and plan['used_by'][0]['version'] == 1, plan
        d.c.call('data.erase', stream='notes')
        assert versions(d)[0]['state'] == 'retired'
        for bad, name in (({'stream': 'notes'}, 'BAD_PARAMS'), ({'days': 3}, 'BAD_PARAMS'),
                          ({'stream': 'none', 'days': 3}, 'NOT_FOUND')):
            try:
                d.c.call('data.retention', **bad)
                raise AssertionError(bad)
            except RpcError as e:
                assert e.name == name, e


def pockctl(d, *args):
    return subprocess.run([os.path.join(BUILD, 'clients/pockctl/pockctl'), *args], capture_output=True,
                          text=True, env=dict(os.environ, POCKD_SOCKET=d.socket))


def pockctl_shows_and_changes_keys_and_days():
    with night() as d:
        put(d, records(5))
        first = pockctl(d, 'key', 'show', '-q').stdout
        shown = pockctl(d, 'key', 'show')
        assert shown.returncode == 0 and 'd/pockd.key (beside what it seals' in shown.stdout, shown
        changed = pockctl(d, 'key', 'rotate')
        assert changed.returncode == 0 and 'sealed anew by key' in changed.stdout, changed
        assert pockctl(d, 'key', 'show', '-q').stdout not in ('', first)
        assert os.stat(os.path.join(d.dir, 'd/pockd.key')).st_mode & 0o777 == 0o400
        d.stop()
        d.start()
        d.c = d.client()
        assert d.c.call('data.get', ids=[1])['records'][0]['text'] == records(1)[0]['text']
        days = pockctl(d, 'data', 'retention', 'notes', '30')
        assert days.returncode == 0 and '30 days' in days.stdout and 'this stream' in days.stdout, days
        assert pockctl(d, 'data', 'retention', 'notes', 'default').stdout.count('90 days') == 1
        assert pockctl(d, 'data', 'retention', 'notes').returncode == 2
        assert 'the key is' in pockctl(d, 'doctor').stdout


def without_its_key_it_refuses_and_loses_nothing():
    with night() as d:
        put(d, records(5))
        d.stop()
        key = os.path.join(d.dir, 'd/pockd.key')
        before = dict(files(d))
        os.rename(key, key + '.kept')
        p = subprocess.run(d.command(), env=d.env, capture_output=True, text=True, timeout=60)
        assert p.returncode == 78, p
        assert 'is sealed and its key' in p.stderr and 'put ' + key + ' back' in p.stderr, p.stderr
        assert not os.path.exists(key)
        with open(key, 'w') as f:
            f.write('00' * 32 + '\n')
        p = subprocess.run(d.command(), env=d.env, capture_output=True, text=True, timeout=60)
        assert p.returncode == 78 and 'put the right one back' in p.stderr, p
        os.rename(key + '.kept', key)
        assert {p for p, _ in files(d)} == set(before)
        d.start()
        d.c = d.client()
        assert d.c.call('data.count')['records'] == 5
        assert d.c.call('data.get', ids=[5])['records'][0]['text'] == records(5)[4]['text']


def a_credential_takes_the_place_of_the_file():
    with night() as d:
        put(d, records(5))
        d.stop()
        given = os.path.join(d.dir, 'credentials')
        os.mkdir(given)
        with open(os.path.join(given, 'pockd.key'), 'wb') as f:
            f.write(os.urandom(32))
        d.env['CREDENTIALS_DIRECTORY'] = given
        d.start()
        d.c = d.client()
        assert d.c.call('key.show')['source'] == 'credential'
        assert not os.path.exists(os.path.join(d.dir, 'd/pockd.key'))
        assert d.c.call('data.get', ids=[5])['records'][0]['text'] == records(5)[4]['text']
        try:
            d.c.call('key.rotate')
            raise AssertionError('it changed a credential')
        except RpcError as e:
            assert e.name == 'CONFLICT' and 'pockd.key.old' in e.msg, e


if __name__ == '__main__':
    main([
        what_is_learned_again_is_what_it_would_have_been_without_them,
        the_newest_clean_version_is_where_it_goes_on,
        killed_between_all_steps_it_is_done_after_the_next_start,
        records_go_when_their_time_is_up,
        pockctl_shows_and_changes_keys_and_days,
        without_its_key_it_refuses_and_loses_nothing,
        a_credential_takes_the_place_of_the_file,
    ])
