#!/usr/bin/env python3
# SPDX-FileCopyrightText: the pockd authors
# SPDX-License-Identifier: Apache-2.0
"""What is judged by the clock, and so runs without other tests beside it."""
import os
import shutil
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from pockd_rpc import SLOW, Daemon, RpcError, main, wait_for  # noqa: E402
from test_pockd_consent import app, put, records as notes, refused  # noqa: E402
from test_pockd_train import LONG, jobs, night, records  # noqa: E402


def a_machine_without_thermal_zones_trains_part_of_the_time():
    with night() as d:
        shutil.rmtree(os.path.join(d.sysroot, 'sys/class/thermal'))
        d.c.call('data.put_many', records=records(40), create_stream=True)
        d.c.call('train.start', recipe=LONG, now=True)
        wait_for('ten steps', 60, lambda: jobs(d)[0]['step'] >= 10)

        def thermal():
            return [g for g in d.c.call('why')['gates'] if g['gate'] == 'thermal'][0]['value']

        def steps(duty):
            d.c.call('policy.set', values={'warm_duty_pct': duty})
            wait_for('its duty', 5, lambda: thermal() == 'no readable zone: trains %d %% of the time' % duty)
            before = jobs(d)[0]['step']
            time.sleep(3)
            return jobs(d)[0]['step'] - before
        assert thermal() == 'no readable zone: trains 50 % of the time', thermal()
        seldom, always = steps(10), steps(100)
        print('# %d steps in a tenth of the time, %d in all of it' % (seldom, always))
        assert 0 < seldom < always / 2, (seldom, always)


def the_switch_closes_ingest_at_once_and_for_good():
    with Daemon() as d:
        o, a = d.client(), app(d)
        put(o)
        put(a)
        # Somebody who puts without a pause.
        busy = d.client()
        ids = [busy.send('data.put_many', records=notes(8), create_stream=True) for _ in range(20)]
        start = time.monotonic()
        wire = o.send('app.switch', off=True)
        while True:
            try:
                put(a)
            except RpcError as e:
                assert e.name == 'NOT_CONSENTED' and 'pockctl on' in e.msg, e
                break
        closed = time.monotonic() - start
        assert o.wait(wire) == {'off': True}
        assert closed < 0.1 * SLOW, 'ingest closed after %.3f s' % closed
        print('# ingest closed after %.1f ms' % (closed * 1e3))
        for i in ids:
            try:
                busy.wait(i)
            except RpcError as e:
                assert e.name == 'NOT_CONSENTED', e
        for call in (lambda: put(o), lambda: put(a), lambda: a.call('gen.start', prompt='x'),
                     lambda: a.call('score', texts=['x y'])):
            refused('NOT_CONSENTED', call)
        # What is there can be seen, and erased.
        before = o.call('data.count')['records']
        refused('NOT_CONSENTED', lambda: a.call('data.list'))
        before -= a.call('data.erase', all=True)['records']
        d.stop()
        d.start()
        o = d.client()
        s = o.call('status')
        assert s['off'] and 'pockctl on' in s['line'], s
        assert o.call('data.count')['records'] == before
        gates = {g['gate']: g for g in o.call('why')['gates']}
        assert not gates['owner']['ok'] and 'pockctl off' in gates['owner']['value'], gates['owner']
        refused('NOT_CONSENTED', lambda: put(o))
        o.call('app.switch', off=False)
        put(o)
        assert not o.call('status')['off']


if __name__ == '__main__':
    main([
        a_machine_without_thermal_zones_trains_part_of_the_time,
        the_switch_closes_ingest_at_once_and_for_good,
    ])
