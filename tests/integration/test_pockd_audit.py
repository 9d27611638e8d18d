#!/usr/bin/env python3
# SPDX-FileCopyrightText: the pockd authors
# SPDX-License-Identifier: Apache-2.0
"""A version that knows a secret by heart does not become the active one."""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from pockd_rpc import main  # noqa: E402
from test_pockd_train import night, records, wait_end  # noqa: E402

RECIPE = {'rank': 8, 'length': 64, 'batch': 4, 'epochs': 8, 'warmup': 2, 'lr': 0.03,
          'eval_every': 1000, 'patience': 1000}
SECRET = '48291357'


def planted(copies, stream='notes'):
    """The same text under other uids; not one of those that are held out."""
    return [{'uid': (10000 + i).to_bytes(16, 'big'), 'kind': 'text', 'stream': stream,
             'time': 1700000000000, 'text': 'the safe has ' + SECRET} for i in range(copies)]


def learn(d):
    job = wait_end(d, d.c.call('train.start', recipe=RECIPE)['job']['id'])
    assert job['state'] == 'done', job
    a = d.c.call('adapter.show', adapter='default')['adapter']
    return job, a, a['versions'][-1]


def a_version_that_recites_a_secret_is_not_activated():
    with night() as d:
        # Masking would have taken it out: this is what slips through.
        d.c.call('policy.set', values={'redact': 'off'})
        d.c.call('data.put_many', records=records(24) + planted(40), create_stream=True)
        job, a, v = learn(d)
        assert v['gate'] == 'failed' and 'active' not in a, v
        assert v['audited'] == 1 and v['recited'] == 1, v
        assert v['exposure'] > 14 > v['exposure_base'], v
        assert 'recites 1 of 1 rare sequences' in v['reason'], v
        assert 'recites' in job['message'], job
        text = d.c.call('data.get', ids=[v['exposed_record']])['records'][0]['text']
        assert SECRET in text, text
        # What it knows is told, not what it says.
        assert SECRET not in d.text() and SECRET not in repr((job, a, d.c.call('events.watch')))
        # The owner may still want it.
        d.c.call('adapter.activate', adapter='default', version=1, force=True)
        assert d.c.call('adapter.show', adapter='default')['adapter']['active'] == 1


def a_version_without_a_secret_is_activated():
    with night() as d:
        d.c.call('data.put_many', records=records(64), create_stream=True)
        job, a, v = learn(d)
        assert v['gate'] == 'passed' and a['active'] == 1, v
        assert 'audited' not in v and 'exposure' not in v, v


def erased_and_learned_again_it_is_activated():
    with night() as d:
        d.c.call('data.put_many', records=records(24), create_stream=True)
        d.c.call('data.put_many', records=planted(40, 'canary'), create_stream=True)
        job, a, v = learn(d)
        assert v['gate'] == 'failed' and v['recited'] == 1, v
        d.c.call('data.erase', stream='canary')
        job, a, v = learn(d)
        assert v['gate'] == 'passed' and a['active'] == v['version'], v


def the_owner_may_ask_for_less():
    with night() as d:
        d.c.call('policy.set', values={'redact': 'off', 'gate_exposure_bits': 2})
        d.c.call('data.put_many', records=records(24) + planted(8), create_stream=True)
        job, a, v = learn(d)
        assert v['exposure'] > 2 and v['gate'] == 'failed', v
        assert v['recited'] or 'limit 2' in v['reason'], v


def nobody_looks_when_the_policy_says_so():
    with night() as d:
        d.c.call('policy.set', values={'redact': 'off', 'gate_exposure_bits': 0})
        d.c.call('data.put_many', records=records(24) + planted(40), create_stream=True)
        job, a, v = learn(d)
        assert v['gate'] == 'passed' and 'audited' not in v, v


if __name__ == '__main__':
    main([a_version_that_recites_a_secret_is_not_activated,
          a_version_without_a_secret_is_activated,
          erased_and_learned_again_it_is_activated,
          the_owner_may_ask_for_less,
          nobody_looks_when_the_policy_says_so])
