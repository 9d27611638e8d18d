#!/usr/bin/env python3
# SPDX-FileCopyrightText: the pockd authors
# SPDX-License-Identifier: Apache-2.0
"""How fast training stops: a worker that trains the demo model is interrupted at
random moments, and then made to hang.

Told are, for each interruption: the worker's own time from the word to its end of
the step, pockd's from its decision to the word that it stopped, and to the
checkpoint on disk; and how long a worker that hangs (SIGSTOP) is there.

usage: ladder.py [--realtime] [TIMES [HANGS [SECONDS]]]
       default 500 2, as long as it takes; prints JSON. With --realtime nothing
       else of the machine runs in between (root only, for a minute)
"""
import hashlib
import json
import os
import random
import re
import signal
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, '../integration'))
from pockd_rpc import ROOT, Daemon, wait_for  # noqa: E402
from test_pockd_train import GATES, jobs, worker_pid  # noqa: E402

NUMBERS = [int(a) for a in sys.argv[1:] if a.isdigit()]
TIMES, HANGS, SECONDS = (NUMBERS + [500, 2, 10 ** 6][len(NUMBERS):])[:3]
RECIPE = {'epochs': 1000, 'patience': 1000, 'eval_every': 100000, 'batch': 4, 'length': 128}


def night():
    d = Daemon()
    d.put('sys/class/thermal/thermal_zone0/type', 'cpu')
    d.put('sys/class/thermal/thermal_zone0/temp', '40000')
    d.start()
    # Its worker inherits that.
    for t in os.listdir('/proc/%d/task' % d.proc.pid) if '--realtime' in sys.argv else []:
        os.sched_setscheduler(int(t), os.SCHED_FIFO, os.sched_param(1))
    d.c = d.client()
    d.c.call('policy.set', values=dict(GATES, flap_s=0))
    d.c.call('model.add', path=os.path.join(ROOT, 'clients/demo/pock-16m-q8_0.gguf'))
    with open(os.path.join(ROOT, 'clients/demo/notebook.jsonl')) as f:
        texts = [json.loads(line)['text'] for line in f]
    d.c.call('data.put_many', create_stream=True, records=[
        {'uid': hashlib.sha256(b'%d' % i).digest()[:16], 'kind': 'text', 'stream': 'notebook',
         'time': 1700000000000 + i, 'text': t} for i, t in enumerate(texts)])
    return d


def lines(d, what):
    return [line for line in d.text().splitlines() if what in line]


def clock_ms(line):
    h, m, s = line.split()[0].split(':')
    return (int(h) * 60 + int(m)) * 60000 + float(s) * 1000


def running(d):
    j = jobs(d)[0]
    return j['state'] == 'running' and j['step'] > 0


def interrupt(d, rng):
    """Milliseconds of the worker, of the word, of the checkpoint; None: none was due."""
    wait_for('training', 240, lambda: running(d))
    time.sleep(rng.uniform(0, 1.5))
    os.truncate(os.path.join(d.dir, 'log'), 0)
    begin = time.monotonic()
    token = d.c.call('inhibit.acquire', who='ladder.py')['token']
    gone = (time.monotonic() - begin) * 1000
    stop, end = lines(d, 'job_stopping'), lines(d, 'worker_stopped')
    saved = lines(d, 'checkpoint_saved')
    d.c.call('inhibit.release', token=token)
    if not stop or not end:
        return None
    return (int(re.search(r'latency_us=(\d+)', end[0]).group(1)) / 1000, clock_ms(end[0]) - clock_ms(stop[0]),
            int(re.search(r'after_stop_ms=(\d+)', saved[-1]).group(1)) if saved else 0, gone)


def hang(d):
    wait_for('training', 240, lambda: running(d))
    pid = worker_pid(d)
    os.kill(pid, signal.SIGSTOP)
    begin = time.monotonic()
    token = d.c.call('inhibit.acquire', who='ladder.py')['token']
    gone = time.monotonic() - begin
    assert not os.path.exists('/proc/%d' % pid)
    d.c.call('inhibit.release', token=token)
    return gone


def part(values, share):
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def main():
    rng = random.Random(1)
    with night() as d:
        # Not in the idle class: what else the machine does is not what is asked.
        d.c.call('train.start', recipe=RECIPE, now=True)
        got, end = [], time.monotonic() + SECONDS
        while len(got) < TIMES and time.monotonic() < end:
            got += filter(None, [interrupt(d, rng)])
        out = {'bench': 'ladder', 'times': len(got)}
        for i, name in enumerate(('worker_ms', 'stopped_ms', 'durable_ms', 'gone_ms')):
            values = [g[i] for g in got]
            out.update({name + '_p50': round(part(values, 0.5), 1), name + '_p99': round(part(values, 0.99), 1),
                        name + '_max': round(max(values), 1)})
        out['stopped_in_250_ms'] = round(sum(g[0] <= 250 for g in got) / len(got), 4)
        out['durable_in_3_s'] = round(sum(g[2] <= 3000 for g in got) / len(got), 4)
        out['hung_s'] = [round(hang(d), 2) for _ in range(HANGS)]
        print(json.dumps(out))


if __name__ == '__main__':
    main()
