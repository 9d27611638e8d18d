#!/usr/bin/env python3
# SPDX-FileCopyrightText: the pockd authors
# SPDX-License-Identifier: Apache-2.0
"""Many clients, a tenth of them hostile: the others are served, and nothing grows.

No times are judged here; tests/bench/load.py does that.

usage: load.py [SECONDS]    default 8
"""
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../integration'))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../bench'))
from load import MANY, load  # noqa: E402
from pockd_rpc import Daemon, main, rss_kib, wait_for  # noqa: E402

SECONDS = int(sys.argv[1]) if len(sys.argv) > 1 else 8


def fds(d):
    return len(os.listdir('/proc/%d/fd' % d.proc.pid))


def hostile_clients_cost_the_others_nothing_but_time():
    with Daemon(args=MANY + ['--hello-ms', '500', '--frame-ms', '500', '--drain-ms', '1000',
                             '--log-level', 'error']) as d:
        d.client().call('ping')
        before = fds(d), rss_kib(d.proc.pid)
        got = load(d, '--clients', 180, '--hostile', 20, '--seconds', SECONDS)
        print('# %s' % got)
        assert got['answers'] > 180 and got['attacks'] > 1000, got
        assert got['refused'] == 0, 'good clients were refused'
        # A hostile one comes again while its last connections are being closed.
        assert got['fds_second'] <= before[0] + 180 + 20 * 4, got
        assert got['fds_second'] <= got['fds_first'] + 20, got
        assert got['rss_second_kib'] < before[1] + 64 * 1024 or sanitized(), got
        assert got['rss_second_kib'] < 1.25 * got['rss_first_kib'] + 4096 or sanitized(), got
        wait_for('the connections to be gone', 20, lambda: fds(d) <= before[0] + 1)
        assert d.client().call('ping') == {}
        time.sleep(0.1)
        assert d.stop() == 0


def sanitized():
    return os.environ.get('POCK_SANITIZE', 'none') != 'none'


if __name__ == '__main__':
    main([hostile_clients_cost_the_others_nothing_but_time])
