#!/usr/bin/env python3
# SPDX-FileCopyrightText: the pockd authors
# SPDX-License-Identifier: Apache-2.0
"""A slice for each stream, merged and in use: an erase costs one of them."""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from pockd_rpc import main, places, wait_for  # noqa: E402
from test_pockd_consent import app  # noqa: E402
from test_pockd_erase import pockctl  # noqa: E402
from test_pockd_train import RECIPE, jobs, night, records, wait_end  # noqa: E402

PARTS = [{'adapter': 'work', 'weight': 0.7}, {'adapter': 'home', 'weight': 0.3}]


def put(d, stream, start, n=40):
    d.c.call('data.put_many', records=records(n, start, stream), create_stream=True)


def train(d, name):
    job = d.c.call('train.start', adapter=name, streams=[name], recipe=RECIPE)['job']['id']
    end = wait_end(d, job)
    assert end['state'] == 'done', end


def slices(d, secrets=True):
    """One for each stream, and their sum, which is in use."""
    put(d, 'work', 0)
    if secrets:
        put(d, 'work', 5000, 6)
    put(d, 'home', 1000)
    train(d, 'work')
    train(d, 'home')
    both = d.c.call('adapter.merge', adapter='both', parts=PARTS)['version']
    d.c.call('adapter.activate', adapter='both', version=both['version'], force=True)
    return both


def ids(d, stream, first=0):
    return [r['id'] for r in d.c.call('data.list', stream=stream, limit=1000)['records']][first:]


def versions(d, name):
    return d.c.call('adapter.show', adapter=name)['adapter']['versions']


def active(d, name):
    a = d.c.call('adapter.show', adapter=name)['adapter']
    return next((v for v in a['versions'] if v['version'] == a.get('active')), None)


def merged_again(d, seconds=120):
    wait_for('the merged version', seconds, lambda: len(versions(d, 'both')) > 1)
    return d.c.call('adapter.show', adapter='both', version=2)


def told(d, kind):
    return [e for e in d.c.call('events.watch', kinds=[kind])['events'] if e.get('adapter') == 'both']


def an_erase_costs_one_slice():
    with night() as d:
        slices(d, secrets=False)
        clean = {n: active(d, n)['sha256'] for n in ('work', 'home', 'both')}
    with night() as d:
        gone = slices(d)
        assert gone['sha256'] != clean['both']
        secret = ids(d, 'work', 40)
        plan = pockctl(d, 'data', 'erase', '--dry-run', *map(str, secret))
        assert plan.returncode == 0 and 'merged again: both from work=0.7 home=0.3\n' in plan.stdout, plan
        assert not d.c.call('why')['remerges'] and active(d, 'both')['version'] == 1

        d.c.call('train.pause')
        done = d.c.call('data.erase', ids=secret)
        assert done['jobs'] == 1, done
        assert {(u['adapter'], u['version'], 'merged_again' in u) for u in done['used_by']} == {
            ('work', 1, False), ('both', 1, True)}, done
        waits = [{'adapter': 'both', 'version': 1, 'active': True, 'waits_for': 'work'}]
        wait_for('it to be told', 30, lambda: d.c.call('why')['remerges'] == waits)
        assert d.c.call('status')['remerges'] == waits
        for command in ('status', 'why'):
            said = pockctl(d, command).stdout
            assert 'both:1 went with an erase, and is merged again when this one is clean: work' in said, said
        assert len(versions(d, 'both')) == 1 and active(d, 'both') is None
        d.c.call('train.resume')

        show = merged_again(d)
        assert [(p['adapter'], p['version'], p['weight']) for p in show['merged_from']] == [
            ('work', 2, 0.7), ('home', 1, 0.3)], show
        # One slice was learned again, and all is as if the records had never been.
        assert len(versions(d, 'home')) == 1 and len(versions(d, 'work')) == 2
        assert {n: active(d, n)['sha256'] for n in clean} == clean
        assert active(d, 'both')['version'] == 2
        line = d.c.call('adapter.show', adapter='both', version=2)['streams']
        assert {s['name']: s['records'] for s in line}.keys() == {'work', 'home'}, line
        for i in (ids(d, 'work')[-1], ids(d, 'home')[0]):
            used = d.c.call('data.used_by', id=i)['used_by']
            assert all(u['version'] == 2 for u in used if u['adapter'] == 'both'), used
        made = told(d, 'version_made')[-1]
        assert made['version'] == 2 and 'merged again of work:2, home:1 in place of version 1' in made['text'], made
        assert told(d, 'version_activated')[-1]['version'] == 2
        log = pockctl(d, 'audit').stdout
        assert 'adapter.merge' in log and log.count('both:2') == 2, log
        wait_for('nothing to wait', 30, lambda: not d.c.call('why')['remerges'])
        assert d.c.call('gen.start', adapter='both', prompt='bee', max_tokens=4, seed=1)['version'] == 2


def what_has_nothing_left_is_left_out_and_choices_stay():
    with night() as d:
        slices(d, secrets=False)
        # Its owner took it out of use: it comes back, but not into it.
        d.c.call('adapter.rollback', adapter='both', version=0)
        d.c.call('data.erase', stream='home')
        show = merged_again(d)
        assert [(p['adapter'], p['version']) for p in show['merged_from']] == [('work', 1)], show
        assert active(d, 'both') is None
        assert 'merged again of work:1, without home' in told(d, 'version_made')[-1]['text']
        d.c.call('data.erase', all=True)
        wait_for('the end of it', 120, lambda: told(d, 'job_notice'))
        assert 'nothing is left' in told(d, 'job_notice')[-1]['text']
        assert not jobs(d) and len(versions(d, 'both')) == 2
        assert not d.c.call('why')['remerges']


def killed_between_all_steps_it_comes_back_all_the_same():
    with night() as d:
        put(d, 'home', 1000)
        train(d, 'home')
        for turn, step in enumerate(places(), 1):
            # A slice that nothing is left of, so that nobody waits for it.
            put(d, 'work', 5000 + 100 * turn)
            train(d, 'work')
            both = d.c.call('adapter.merge', adapter='both', parts=[
                {'adapter': 'work', 'weight': 0.5}, {'adapter': 'home', 'weight': turn / 8}])['version']['version']
            assert both == 2 * turn - 1, both
            d.c.call('adapter.activate', adapter='both', version=both, force=True)
            d.stop()
            d.env['POCK_FAULT'] = 'step:%d' % step
            d.start()
            d.c = d.client()
            was_killed = False
            try:
                d.c.call('data.erase', stream='work')
                wait_for('the merged version', 60, lambda: (active(d, 'both') or {}).get('version') == both + 1)
                wait_for('a quiet store', 60, lambda: not d.c.call('why')['remerges'])
            except (EOFError, ConnectionError):
                was_killed = True
                d.proc.wait()
            del d.env['POCK_FAULT']
            if was_killed:
                d.start()
                d.c = d.client()
            wait_for('the merged version', 60, lambda: (active(d, 'both') or {}).get('version') == both + 1)
            wait_for('a quiet store', 60, lambda: not d.c.call('why')['remerges'])
            # Once and whole, of the one that is left, and in use.
            assert [v['state'] for v in versions(d, 'both')] == ['retired', 'kept'] * (turn - 1) + ['retired', 'active']
            of = d.c.call('adapter.show', adapter='both', version=both + 1)['merged_from']
            assert of == [{'adapter': 'home', 'version': 1, 'weight': turn / 8}], of
            assert d.c.call('gen.start', adapter='both', prompt='bee', max_tokens=2, seed=1)['version'] == both + 1
            if not was_killed:
                break
        print('# killed up to place %d' % (step - 1))
        assert step > 14


def an_app_is_told_of_no_slice_but_its_own():
    with night() as d:
        a = app(d)
        d.c.call('app.grant', app=a.hello['app'], purposes=['train'])
        a.call('data.put_many', records=records(40, 0, 'work'), create_stream=True)
        put(d, 'home', 1000)
        train(d, 'work')
        train(d, 'home')
        d.c.call('adapter.merge', adapter='both', parts=PARTS)
        owned = d.c.call('data.erase', app=a.hello['app'], dry_run=True)['used_by']
        assert [u.get('merged_again') for u in owned] == [[dict(p, version=1) for p in PARTS], None], owned
        used = a.call('data.erase', all=True)['used_by']
        assert used == [{'adapter': 'both', 'version': 1, 'active': False},
                        {'adapter': 'work', 'version': 1, 'active': True}], used
        assert [p['adapter'] for p in merged_again(d)['merged_from']] == ['home']


def what_fails_is_told_and_tried_again():
    with night() as d:
        slices(d, secrets=False)
        os.rename(d.model, d.model + '.away')
        d.c.call('data.erase', stream='home')
        wait_for('it to be told', 60, lambda: told(d, 'job_notice'))
        said = told(d, 'job_notice')
        assert len(said) == 1 and said[0]['version'] == 1, said
        assert 'could not be merged again' in said[0]['text'] and 'tried again later' in said[0]['text'], said
        put(d, 'work', 3000, 1)  # no reason to try at once
        assert d.c.call('why')['remerges'] == [{'adapter': 'both', 'version': 1, 'active': True}]
        os.rename(d.model + '.away', d.model)
        merged_again(d, 60)
        assert active(d, 'both')['version'] == 2 and len(told(d, 'job_notice')) == 1


if __name__ == '__main__':
    main([
        an_erase_costs_one_slice,
        what_has_nothing_left_is_left_out_and_choices_stay,
        an_app_is_told_of_no_slice_but_its_own,
        what_fails_is_told_and_tried_again,
        killed_between_all_steps_it_comes_back_all_the_same,
    ])
