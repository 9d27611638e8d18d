#!/usr/bin/env python3
# SPDX-FileCopyrightText: the pockd authors
# SPDX-License-Identifier: Apache-2.0
"""Nights of a real pockd with real workers on a tiny model."""
import hashlib
import json
import os
import signal
import struct
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from pockd_rpc import BUILD, SANITIZE, SLOW, Daemon, RpcError, main, wait_for  # noqa: E402

RECIPE = {'rank': 2, 'length': 64, 'batch': 2, 'epochs': 2, 'warmup': 2, 'lr': 0.01}
LONG = dict(RECIPE, epochs=1000, batch=1, patience=1000, eval_every=100000)
GATES = {'idle_screen_off_s': 0, 'background': False, 'disk_free_mib': 0, 'disk_free_pct': 0,
         'gate_margin': 0, 'gate_probe_nats': 10, 'retry_s': 1, 'retry_disk_s': 1, 'checkpoint_s': 1, 'min_records': 10000}


def records(n, start=0, stream='notes'):
    return [{'uid': hashlib.sha256(b'%d' % i).digest()[:16], 'kind': 'text', 'stream': stream,
             'time': 1700000000000 + i * 1000,
             'text': 'bee %d flew from hive %d to the lime tree and back' % (i, i % 7)}
            for i in range(start, start + n)]


def night(**kw):
    """A daemon with the tiny model, open gates and nothing to learn yet."""
    d = kw.get('daemon') or Daemon(env=dict({'POCKD_THREADS': '1'}, **kw.get('env', {})))
    d.put('sys/class/thermal/thermal_zone0/type', 'cpu')
    d.put('sys/class/thermal/thermal_zone0/temp', '40000')
    d.model = os.path.join(d.dir, 'tiny.gguf')
    subprocess.check_call([os.path.join(BUILD, 'tests/integration/make_tiny'), d.model])
    d.start()
    d.c = d.client()
    d.c.call('policy.set', values=GATES)
    if kw.get('model', True):
        d.c.call('model.add', path=d.model)
    return d


def jobs(d):
    return d.c.call('train.status')['jobs']


def wait_state(d, state, seconds=60):
    def look():
        j = jobs(d)
        return j[0] if j and j[0]['state'] == state else None
    return wait_for('a job that is ' + state, seconds, look)


def wait_end(d, job, seconds=120):
    def look():
        j = d.c.call('train.status', job=job)['jobs'][0]
        return j if j['state'] in ('done', 'failed', 'cancelled') else None
    return wait_for('the end of the job', seconds, look)


def worker_pid(d):
    out = subprocess.run(['ps', '-o', 'pid=,args=', '--ppid', str(d.proc.pid)],
                         capture_output=True, text=True).stdout
    for line in out.splitlines():
        if 'pock-worker' in line:
            return int(line.split()[0])
    return None


def start_long(d, **kw):
    d.c.call('data.put_many', records=records(40), create_stream=True)
    job = d.c.call('train.start', recipe=dict(LONG, **kw))['job']['id']
    wait_for('ten steps', 60, lambda: jobs(d)[0]['step'] >= 10)
    return job


def a_night_begins_when_the_gates_open_and_ends_with_a_version():
    with night() as d:
        d.plug(False)
        d.screen(True)
        d.c.call('policy.set', values=dict({'train_' + k: v for k, v in RECIPE.items()}, min_records=16))
        d.c.call('data.put_many', records=records(60), create_stream=True)
        def closed():
            return [g['gate'] for g in d.c.call('why')['gates'] if not g['ok']]
        # The records are counted a moment after they were acknowledged.
        wait_for('only power and idle to be closed', 10, lambda: closed() == ['power', 'idle'])
        d.plug(True)
        d.screen(False)
        wait_for('an automatic job', 10, lambda: jobs(d))
        end = wait_end(d, 1)
        assert end['state'] == 'done' and end['version'] == 1, end
        a = d.c.call('adapter.list')['adapters'][0]
        v = a['versions'][0]
        assert a['active'] == 1 and v['gate'] == 'passed', a
        assert v['heldout_after'] <= v['heldout_before'], v
        assert v['records'] + end.get('heldout_records', 0) <= 60
        kinds = [e['kind'] for e in d.c.call('events.watch')['events']]
        for k in ('job_queued', 'job_started', 'version_made', 'version_activated', 'job_done'):
            assert k in kinds, kinds
        # Nothing new: no second job by itself.
        time.sleep(0.3)
        assert jobs(d) == []
        # The second night learns old and new, from the first version on.
        d.c.call('data.put_many', records=records(30, 60))
        wait_for('a second job', 10, lambda: jobs(d))
        end = wait_end(d, 2)
        assert end['state'] == 'done' and end['records'] == 90, end
        a = d.c.call('adapter.list')['adapters'][0]
        assert [v['version'] for v in a['versions']] == [1, 2]
        assert a['versions'][1]['parent'] == 1
        assert not os.listdir(os.path.join(d.dir, 'd/ckpt'))


def what_did_not_pass_is_judged_anew_when_it_is_learned_again():
    with night() as d:
        d.c.call('data.put_many', records=records(40), create_stream=True)
        d.c.call('policy.set', values={'gate_margin': 9})
        for n in (1, 2):  # the same version is found again
            assert wait_end(d, d.c.call('train.start', recipe=RECIPE)['job']['id'])['state'] == 'done'
            a = d.c.call('adapter.list')['adapters'][0]
            assert [v['gate'] for v in a['versions']] == ['failed'] and not a.get('active'), (n, a)
        d.c.call('policy.set', values={'gate_margin': 0})
        end = wait_end(d, d.c.call('train.start', recipe=RECIPE)['job']['id'])
        assert end['state'] == 'done' and end.get('attempts', 1) == 1, end
        a = d.c.call('adapter.list')['adapters'][0]
        assert a['active'] == 2 and [v['state'] for v in a['versions']] == ['retired', 'active'], a
        assert a['versions'][0]['sha256'] == a['versions'][1]['sha256'], a
        assert 'passed the gate this time' in a['versions'][0]['reason'], a


def a_pockd_that_is_not_installed_finds_its_probe():
    with night(env={'POCKD_PROBE': ''}) as d:
        d.c.call('data.put_many', records=records(40), create_stream=True)
        end = wait_end(d, d.c.call('train.start', recipe=RECIPE)['job']['id'])
        assert end['state'] == 'done', end
        v = d.c.call('adapter.list')['adapters'][0]['versions'][0]
        assert v['gate'] == 'passed' and v['probe_after'] > 0, v


def another_rank_starts_from_the_base_and_is_compared_all_the_same():
    with night() as d:
        d.c.call('data.put_many', records=records(40), create_stream=True)
        first = wait_end(d, d.c.call('train.start', recipe=RECIPE)['job']['id'])
        assert first['state'] == 'done' and first['version'] == 1, first
        d.c.call('adapter.activate', adapter=d.c.call('adapter.list')['adapters'][0]['name'],
                 version=1, force=True)
        second = wait_end(d, d.c.call('train.start', recipe=dict(RECIPE, rank=4))['job']['id'])
        assert second['state'] == 'done' and second['version'] == 2, second
        assert 'the start adapter learns other tensors' in d.text()
        v = d.c.call('adapter.list')['adapters'][0]['versions'][1]
        assert v['parent'] == 1, v


def stops_when_unplugged_and_goes_on_from_its_checkpoint():
    with night() as d:
        job = start_long(d)
        t = time.time()
        d.plug(False)
        j = wait_state(d, 'queued', 20)
        print('# stopped and saved after %.0f ms' % ((time.time() - t) * 1000))
        assert j['stop_reason'] == 'POWER', j
        said = d.c.call('events.watch', kinds=['job_interrupted'])['events'][-1]['text']
        assert said == 'external power was lost', said
        assert os.path.exists(os.path.join(d.dir, 'd/ckpt/job-%d.ckpt' % job))
        for line in d.text().splitlines():
            if 'worker_stopped' in line or 'checkpoint_saved' in line:
                print('# ' + line)
        step = j['step']
        assert step >= 10
        d.plug(True)
        wait_for('more steps', 60, lambda: jobs(d)[0]['step'] > step)
        assert 'job_restarted' not in d.text(), 'it did not go on from the checkpoint'
        assert jobs(d)[0]['attempts'] == 2
        d.c.call('train.cancel')
        assert wait_end(d, job)['state'] == 'cancelled'
        assert not os.listdir(os.path.join(d.dir, 'd/ckpt'))


def a_killed_worker_costs_only_the_steps_since_its_checkpoint():
    with night() as d:
        job = start_long(d)
        wait_for('a checkpoint', 30, lambda: os.listdir(os.path.join(d.dir, 'd/ckpt')))
        os.kill(worker_pid(d), signal.SIGKILL)
        wait_for('a second worker', 30, lambda: jobs(d)[0]['attempts'] == 2)
        step = jobs(d)[0]['step']
        assert 'SIGKILL' in d.text() or 'killed' in d.c.call('train.status', job=job)['jobs'][0].get(
            'message', 'killed')
        wait_for('more steps', 60, lambda: jobs(d)[0]['step'] > step)
        assert 'job_restarted' not in d.text()


def a_worker_that_hangs_is_killed_and_its_job_goes_on():
    with night() as d:
        job = start_long(d)
        wait_for('a checkpoint', 30, lambda: os.listdir(os.path.join(d.dir, 'd/ckpt')))
        pid = worker_pid(d)
        os.kill(pid, signal.SIGSTOP)
        d.plug(False)
        wait_for('the worker to be gone', 20, lambda: not os.path.exists('/proc/%d' % pid))
        j = wait_state(d, 'queued', 5)
        assert j['id'] == job and j['stop_reason'] == 'WATCHDOG', j
        # Not its fault: no failure is counted, and it goes on from where it was.
        d.plug(True)
        wait_for('more steps', 60, lambda: jobs(d)[0]['state'] == 'running' and jobs(d)[0]['step'] > 0)
        assert 'job_restarted' not in d.text()


def a_worker_that_dies_wherever_it_is_ends_the_job():
    with night() as d:
        d.c.call('policy.set', values={'retry_s': 0})
        d.c.call('data.put_many', records=records(40), create_stream=True)
        job = d.c.call('train.start', recipe=LONG)['job']['id']
        seen = set()

        def kill():
            pid = worker_pid(d)
            if pid and pid not in seen:
                seen.add(pid)
                os.kill(pid, signal.SIGKILL)
            return d.c.call('train.status', job=job)['jobs'][0]['state'] == 'failed'
        wait_for('the job to be given up', 60, kill)
        j = d.c.call('train.status', job=job)['jobs'][0]
        # Three times at one place, or as often as anything may fail; where it was
        # reading, the records at hand are tried by themselves before that.
        assert 3 <= len(seen) <= 40, seen
        assert 'killed' in j['message'] or 'SIGKILL' in j['message'], j


def one_record_that_kills_workers_is_found_and_left_out():
    with night(env={'POCK_FAULT': 'record:777'}) as d:
        d.c.call('policy.set', values={'retry_s': 0})
        rows = records(40)
        # One that is not held out, of the length that this worker dies of.
        for n in range(100):
            text = ('a wasp %d ' % n).ljust(777, 'z')
            if hashlib.sha256(text.encode()).digest()[0] >= 26:
                break
        rows[17]['text'] = text
        d.c.call('data.put_many', records=rows, create_stream=True)
        job = d.c.call('train.start', recipe=dict(RECIPE, batch=8))['job']['id']
        end = wait_end(d, job, 200)
        assert end['state'] == 'done' and end['version'] == 1, end
        said = [e['text'] for e in notices(d)]
        guilty = [t for t in said if 'ends the worker and is left out' in t]
        assert len(guilty) == 1 and guilty[0].startswith('record 18 '), said
        data = [g for g in d.c.call('why')['gates'] if g['gate'] == 'data'][0]
        assert '1 record is left out that ends the worker: 18' in data['value'], data
        print('# %d workers until the version was made' % end['attempts'])
        assert end['attempts'] <= 3 + 3 + 3 + 1, end
        assert end['records'] == 39, end
        # The next job knows, and another start of pockd does too.
        d.stop()
        d.start()
        d.c = d.client()
        end = wait_end(d, d.c.call('train.start', recipe=RECIPE)['job']['id'])
        assert end['state'] == 'done' and end['attempts'] == 1, end


def every_night_is_in_the_history():
    with night() as d:
        d.put('sys/class/powercap/intel-rapl:0/energy_uj', '1000000')
        d.put('sys/class/powercap/intel-rapl:0/name', 'package-0')
        start_long(d)
        d.put('sys/class/powercap/intel-rapl:0/energy_uj', '4600000')
        wait_for('the energy of it', 20, lambda: 'Wh used' in [
            g for g in d.c.call('why')['gates'] if g['gate'] == 'budget'][0]['value'])
        d.plug(False)
        wait_state(d, 'queued', 20)
        n = wait_for('a night', 10, lambda: d.c.call('train.history')['nights'])
        assert len(n) == 1 and n[0]['runs'] == 1 and n[0]['slices'] == 1, n
        assert n[0]['stopped_by'] == 'POWER' and n[0]['steps'] >= 10, n
        assert abs(n[0]['energy_wh'] - 0.001) < 1e-9 and n[0]['run_ms'] > 0, n
        d.plug(True)
        wait_state(d, 'running')
        d.c.call('train.cancel')
        wait_for('another run', 20, lambda: d.c.call('train.history')['nights'][0]['runs'] == 2)
        n = d.c.call('train.history')['nights'][0]
        assert n['stopped_by'] == 'USER, POWER', n
        out = subprocess.run([os.path.join(BUILD, 'clients/pockctl/pockctl'), '--socket', d.socket, 'train', 'history'],
                             capture_output=True, text=True)
        assert out.returncode == 0 and 'STOPPED BY' in out.stdout and 'USER, POWER' in out.stdout, out


def a_policy_that_contradicts_itself_is_refused():
    with night() as d:
        for values, part in (({'level_start_pct': 20}, 'would stop as soon as it starts'),
                             ({'windows': '10:00-10:00'}, 'is empty'),
                             ({'window_end_min': 0}, 'is empty'),
                             ({'windows': 'tonight'}, 'is no window')):
            fails(d, 'BAD_PARAMS', part, 'policy.set', values=values)
        # Both at once agree.
        d.c.call('policy.set', values={'level_start_pct': 20, 'level_keep_pct': 10})
        fails(d, 'BAD_PARAMS', 'level_keep_pct', 'policy.set', values={'level_keep_pct': None})


def times_path(d):
    return os.path.join(d.dir, 'd/kernel.times')


def put_times(d, data):
    with open(times_path(d), 'wb') as f:
        f.write(data)


def prefer_plain_c(data):
    """The same table, but plain C is the fastest everywhere."""
    n_targets, n_rows, n_models = struct.unpack_from('<III', data, 12)
    at = 232 + 24 * n_models
    is_c = [data[at + 24 * i:at + 24 * i + 2] == b'c\0' for i in range(n_targets)]
    out, at = bytearray(data[:-32]), at + 24 * n_targets
    for _ in range(n_rows):
        struct.pack_into('<%dQ' % n_targets, out, at + 40, *(1000 if c else 10 ** 9 for c in is_c))
        at += 40 + 8 * n_targets
    return bytes(out) + hashlib.sha256(out).digest()


def a_job_ends_with_the_same_bytes_though_kernels_are_timed_again():
    if SANITIZE != 'none':
        return print('# skipped: only the bytes of a build without sanitizers are asked for')
    epochs = 24  # long enough for a checkpoint on the way

    def train(d, name, between=None):
        job = d.c.call('train.start', adapter=name,
                       recipe=dict(RECIPE, epochs=epochs, patience=1000, eval_every=100000))['job']['id']
        if between:
            wait_for('a checkpoint', 30, lambda: os.listdir(os.path.join(d.dir, 'd/ckpt')))
            os.kill(worker_pid(d), signal.SIGKILL)
            between()
        assert wait_end(d, job)['state'] == 'done'
        return d.c.call('adapter.show', adapter=name)['adapter']['versions'][0]['sha256']

    with night() as d:
        d.c.call('data.put_many', records=records(40), create_stream=True)
        r = d.c.call('tune.run', seconds=20.0, force=True)
        assert r['used'] and r['timed'] == r['wanted'] and r['left'] == 0, r
        fast = open(times_path(d), 'rb').read()
        plain = prefer_plain_c(fast)
        put_times(d, plain)
        straight = train(d, 'straight')
        retuned = train(d, 'retuned', lambda: put_times(d, fast))
        put_times(d, plain)
        lost = train(d, 'lost', lambda: os.unlink(times_path(d)))
        assert straight == retuned == lost
        assert 'job_restarted' not in d.text()
        if 'c, ' in r['device']:  # there is another kernel
            assert straight != train(d, 'without')


def a_table_of_kernel_times_that_is_of_no_use_is_told_of_once():
    with night() as d:
        d.c.call('data.put_many', records=records(40), create_stream=True)
        d.c.call('tune.run', seconds=1.0, force=True)
        data = bytearray(open(times_path(d), 'rb').read())
        data[40:60] = b'cpu of another X3: c'
        put_times(d, bytes(data[:-32]) + hashlib.sha256(data[:-32]).digest())
        for _ in range(2):
            job = d.c.call('train.start', recipe=RECIPE)['job']['id']
            assert wait_end(d, job)['state'] == 'done'
        said = notices(d)
        assert len(said) == 1 and 'another device' in said[0]['text'], said
        assert not os.path.exists(times_path(d))


def kernels_are_not_timed_beside_a_job():
    with night() as d:
        start_long(d)
        fails(d, 'BUSY', 'trains now', 'tune.run')


FORWARD = {'method': 'prge', 'queries': 4, 'rank': 2, 'length': 64, 'batch': 2, 'epochs': 25,
           'lr': 0.01, 'patience': 1000, 'eval_every': 100}


def exported(d):
    with tempfile.TemporaryFile() as f:
        d.c.call('adapter.export', fd=f.fileno(), adapter='default')
        f.seek(0)
        return f.read()


# False when its job had ended before it was seen.
def is_killed_with_a_checkpoint(d):
    wait_for('a checkpoint', 30, lambda: os.listdir(os.path.join(d.dir, 'd/ckpt')))
    try:
        os.kill(worker_pid(d), signal.SIGKILL)
    except (TypeError, ProcessLookupError):
        return False
    return True


def forward_passes_alone_learn_through_a_kill_and_leave_a_journal():
    files = []
    todo = [False] + 5 * [True] if SANITIZE != 'thread' else 5 * [True]
    while todo:
        kill = todo.pop(0)
        with night() as d:
            d.c.call('data.put_many', records=records(40), create_stream=True)
            job = d.c.call('train.start', recipe=FORWARD)['job']['id']
            if kill and not is_killed_with_a_checkpoint(d):
                assert todo, 'five jobs had ended before they could be killed'
                continue
            todo = todo if not kill else []
            end = wait_end(d, job)
            assert end['state'] == 'done' and end['recipe']['method'] == 'prge', end
            assert end.get('attempts', 1) == (2 if kill else 1), end
            assert 'job_restarted' not in d.text()
            v = d.c.call('adapter.list')['adapters'][0]['versions'][0]
            assert v['heldout_after'] < v['heldout_before'], v
            files.append(exported(d))
            path = os.path.join(d.dir, 'adapter.gguf')
            with open(path, 'wb') as f:
                f.write(files[-1])
            out = subprocess.run([os.path.join(BUILD, 'engine/pock-journal'), path, d.model],
                                 capture_output=True, text=True)
            assert out.returncode == 0 and 'rebuilt to the same bytes' in out.stdout, out
            assert 'method=prge queries=4' in out.stdout, out.stdout[:400]
            with tempfile.TemporaryFile() as f:
                d.c.call('adapter.export', fd=f.fileno(), adapter='default', format='journal')
                f.seek(0)
                lines = [json.loads(line) for line in f.read().splitlines()]
            assert lines[0]['queries'] == 4 and lines[0]['steps'] == len(lines) - 1, lines[0]
            assert all(len(x['g']) == 4 and x['rate'] > 0 for x in lines[1:]), lines[1]
            shown = subprocess.run([os.path.join(BUILD, 'clients/pockctl/pockctl'), 'adapter', 'show', 'default:1',
                                    '--journal'], capture_output=True, text=True,
                                   env=dict(os.environ, POCKD_SOCKET=d.socket))
            assert shown.returncode == 0 and len(shown.stdout.splitlines()) >= len(lines), shown
            assert lines[0]['values'] in shown.stdout, shown.stdout[:600]
    assert files[0] == files[-1], 'the kill changed the adapter'


def what_users_took_and_what_not_is_learned():
    def shown(i):
        return {'uid': hashlib.sha256(b'f%d' % i).digest()[:16], 'kind': 'feedback', 'stream': 'notes',
                'time': 1700000000000 + i, 'prompt': 'tea or rain %d?' % i,
                'completion': 'tea' if i % 2 else 'rain', 'accepted': i % 2 == 1}
    recipe = dict(FORWARD, objective='feedback', epochs=4, lr=0.02)
    with night() as d:
        d.c.call('data.put_many', records=records(4), create_stream=True)
        job = d.c.call('train.start', recipe=recipe, now=True)['job']['id']
        end = wait_end(d, job)
        assert end['state'] == 'failed' and 'records of kind feedback' in end['message'], end
        d.c.call('data.put_many', records=[shown(i) for i in range(60)])
        heads = d.c.call('data.list', limit=100)['records']
        assert sorted({h['kind'] for h in heads}) == ['feedback', 'text'], heads
        ids = [h['id'] for h in heads if h['kind'] == 'feedback']
        got = d.c.call('data.get', ids=ids[:2])['records']
        assert [(r['completion'], r['accepted']) for r in got] == [('rain', False), ('tea', True)], got
        job = d.c.call('train.start', recipe=recipe)['job']['id']
        end = wait_end(d, job)
        assert end['state'] == 'done' and end['recipe']['objective'] == 'feedback', end
        with tempfile.TemporaryFile() as f:
            d.c.call('data.export', fd=f.fileno())
            f.seek(0)
            lines = [json.loads(x) for x in f.read().splitlines()]
        assert sum(x.get('accepted') is True for x in lines) == 30, lines[-3:]
        bad = dict(shown(100))
        del bad['accepted']
        fails(d, 'BAD_PARAMS', '`accepted` is missing', 'data.put_many', records=[bad])


def a_private_run_says_what_it_spent():
    recipe = dict(FORWARD, method='prge', epochs=3, dp_epsilon=3.0, dp_clip=5.0)
    with night() as d:
        d.c.call('data.put_many', records=records(40), create_stream=True)
        for i in range(2):
            job = d.c.call('train.start', recipe=recipe)['job']['id']
            end = wait_end(d, job)
            assert end['state'] == 'done', end
            v = d.c.call('adapter.list')['adapters'][0]['versions'][-1]
            # Who goes on from a version adds to what that has spent.
            times = 2 if 'parent' in v else 1
            assert 2 * times < v['dp_epsilon'] <= 3.001 * times, v
            assert 0.9e-5 * times < v['dp_delta'] < 1.1e-5 * times, v
        # What is learned without a promise has none, whatever it began with.
        job = d.c.call('train.start', recipe=RECIPE)['job']['id']
        assert wait_end(d, job)['state'] == 'done'
        v = d.c.call('adapter.list')['adapters'][0]['versions'][-1]
        assert 'dp_epsilon' not in v, v
        job = d.c.call('train.start', recipe=dict(RECIPE, dp_epsilon=1.0), now=True)['job']['id']
        end = wait_end(d, job)
        assert end['state'] == 'failed' and 'cannot keep that promise' in end['message'], end


def pockctl_trains_by_forward_passes():
    with night() as d:
        d.c.call('data.put_many', records=records(40), create_stream=True)
        p = subprocess.run([os.path.join(BUILD, 'clients/pockctl/pockctl'), 'train', 'now', '--method',
                            'prge', '--queries', '8', '--recipe', 'length=64,batch=2,epochs=2,rank=2',
                            '--watch'], capture_output=True, text=True,
                           env=dict(os.environ, POCKD_SOCKET=d.socket))
        assert p.returncode == 0, p
        r = jobs_done(d)['recipe']
        assert (r['method'], r['queries']) == ('prge', 8), r
        assert not {'lr', 'eps', 'warmup'} & set(r), r  # the method's own
        for bad, says in (({'eps': 0}, 'recipe eps is 0, but must be'), ({'lr': 0}, 'recipe lr is 0')):
            fails(d, 'BAD_PARAMS', says, 'train.start', recipe=dict(FORWARD, **bad))
        job = d.c.call('train.start', recipe=dict(FORWARD, eps=1e-9))['job']['id']
        end = wait_end(d, job)
        assert end['state'] == 'failed' and 'looks 1e-06 to 1 far' in json.dumps(end), end


def jobs_done(d):
    return d.c.call('train.history')['jobs'][0]


def a_killed_daemon_goes_on_with_the_job():
    with night() as d:
        start_long(d)
        wait_for('a checkpoint', 30, lambda: os.listdir(os.path.join(d.dir, 'd/ckpt')))
        pid = worker_pid(d)
        d.kill()
        wait_for('the worker to go too', 15, lambda: not os.path.exists('/proc/%d' % pid))
        d.start()
        d.c = d.client()
        wait_for('training to go on', 60, lambda: jobs(d) and jobs(d)[0]['step'] > 10)
        assert 'job_restarted' not in d.text()


def train_now_overrides_idle_but_not_power():
    with night() as d:
        d.screen(True)
        d.c.call('data.put_many', records=records(40), create_stream=True)
        d.plug(False)
        try:
            d.c.call('train.start', now=True)
            raise AssertionError('it started on battery')
        except RpcError as e:
            assert e.name == 'CONDITIONS' and e.data['gates'][0]['gate'] == 'power', e.data
        d.plug(True)
        a = d.c.call('train.start', now=True, recipe=RECIPE)
        assert a['job']['forced'] and a['gates'] == [], a
        assert wait_end(d, a['job']['id'])['state'] == 'done'


def inhibit_stops_training_until_the_connection_ends():
    with night() as d:
        start_long(d)
        other = d.client()
        other.call('inhibit.acquire', who='a game')
        assert jobs(d)[0]['state'] == 'queued', jobs(d)
        assert [i['who'] for i in d.c.call('status')['inhibitors']] == ['a game']
        step = jobs(d)[0]['step']
        other.close()
        wait_for('training to go on', 30, lambda: jobs(d)[0]['step'] > step)


def pause_and_resume_one_job():
    with night() as d:
        job = start_long(d)
        d.c.call('train.pause', job=job)
        wait_state(d, 'paused')
        d.c.call('train.resume', job=job)
        wait_state(d, 'running')
        d.c.call('train.pause')
        wait_state(d, 'queued')
        assert d.c.call('status')['paused']
        assert not d.c.call('why')['would_run']
        d.c.call('train.resume')
        wait_state(d, 'running')


def a_full_disk_pauses_the_job_and_says_so():
    with night() as d:
        start_long(d)
        ckpt = os.path.join(d.dir, 'd/ckpt')
        # A directory that cannot be written is a disk that takes nothing.
        os.rename(ckpt, ckpt + '.away')
        wait_for('a failed checkpoint', 30, lambda: jobs(d)[0]['stop_reason'] == 'DISK')
        j = wait_state(d, 'queued')
        assert 'checkpoint could not be saved' in j['message'], j
        data = [g for g in d.c.call('why')['gates'] if g['gate'] == 'data'][0]
        assert data['ok'] or 'checkpoint' in data['value'], data
        os.rename(ckpt + '.away', ckpt)
        wait_for('training to go on', 60, lambda: jobs(d)[0]['state'] == 'running')


def whole_weights_learn_and_leave_as_a_model_or_a_lora():
    scheme = {'rules': [{'tensors': ['attn_q', 'ffn_gate'], 'blocks': 1, 'learn': 'delta'},
                        {'tensors': 'attn_norm', 'blocks': 1, 'learn': 'delta'}]}
    with night() as d:
        d.c.call('data.put_many', records=records(60), create_stream=True)
        job = d.c.call('train.start', recipe=dict(RECIPE, scheme=json.dumps(scheme)))['job']['id']
        end = wait_end(d, job)
        assert end['state'] == 'done' and json.loads(end['recipe']['scheme']) == scheme, end
        assert d.c.call('gen.start', prompt='bee', max_tokens=8, seed=3)['version'] == 1
        with tempfile.TemporaryFile() as f:
            try:
                d.c.call('adapter.export', fd=f.fileno(), adapter='default')
                raise AssertionError('a whole weight was exported as a LoRA')
            except RpcError as e:
                assert 'attn_q' in str(e) and 'merged' in str(e) and 'lora-svd' in str(e), e
        with tempfile.TemporaryFile() as f:
            x = d.c.call('adapter.export', fd=f.fileno(), adapter='default', format='merged')
            f.seek(0)
            data = f.read()
            assert data[:4] == b'GGUF' and hashlib.sha256(data).hexdigest() == x['sha256']
            assert b'adapter.type' not in data and b'tokenizer.ggml.tokens' in data
        with tempfile.TemporaryFile() as f:
            x = d.c.call('adapter.export', fd=f.fileno(), adapter='default', format='lora-svd', rank=4)
            assert 0 < x['left_out'] < 1, x
            f.seek(0)
            i = d.c.call('adapter.import', fd=f.fileno(), adapter='svd')
            assert i['version']['rank'] == 4, i
        job = d.c.call('train.start', recipe=dict(RECIPE, scheme='lora-last:99'))['job']['id']
        end = wait_end(d, job)
        assert end['state'] == 'failed' and 'lora-last:99' in json.dumps(end), end


def adapters_are_exported_imported_rolled_back_and_used():
    with night() as d:
        d.c.call('data.put_many', records=records(60), create_stream=True)
        job = d.c.call('train.start', recipe=RECIPE)['job']['id']
        assert wait_end(d, job)['state'] == 'done'
        with tempfile.TemporaryFile() as f:
            x = d.c.call('adapter.export', fd=f.fileno(), adapter='default')
            f.seek(0)
            data = f.read()
            assert data[:4] == b'GGUF' and hashlib.sha256(data).hexdigest() == x['sha256']
            f.seek(0)
            i = d.c.call('adapter.import', fd=f.fileno(), adapter='copy')
            assert i['version']['origin'] == 'imported' and i['version']['sha256'] == x['sha256'], i
        with tempfile.TemporaryFile() as w, tempfile.TemporaryFile() as k:
            d.c.call('adapter.export', fd=w.fileno(), adapter='default', format='peft-weights')
            d.c.call('adapter.export', fd=k.fileno(), adapter='default', format='peft-config')
            k.seek(0)
            config = k.read().decode()
            assert '"peft_type"' in config, config
            i = d.c.call('adapter.import', fd=w.fileno(), adapter='peft', format='peft-weights', config=config)
            assert i['version']['rank'] == 2, i
        with tempfile.TemporaryFile() as f:
            f.write(b'GGUF' + b'\0' * 100)
            f.flush()
            try:
                d.c.call('adapter.import', fd=f.fileno(), adapter='bad')
                raise AssertionError('nonsense was imported')
            except RpcError as e:
                assert e.name == 'BAD_PARAMS', e
        try:
            d.c.call('adapter.activate', adapter='copy', version=1)
            raise AssertionError('an adapter that was never evaluated became active')
        except RpcError as e:
            assert e.name == 'CONFLICT', e
        g = d.c.call('gen.start', prompt='bee', max_tokens=8, seed=3)
        assert g['adapter'] == 'default' and g['version'] == 1, g
        assert g == dict(d.c.call('gen.start', prompt='bee', max_tokens=8, seed=3), ms=g['ms'], tokens_s=g['tokens_s'])
        base = d.c.call('score', heldout=True, adapter='none')
        mine = d.c.call('score', heldout=True)
        v = d.c.call('adapter.show', adapter='default')['adapter']['versions'][0]
        assert abs(mine['total']['loss'] - v['heldout_after']) < 0.01 * v['heldout_after'], (mine, v)
        assert abs(base['total']['loss'] - v['heldout_before']) < 0.01 * v['heldout_before'], (base, v)
        a = d.c.call('adapter.rollback', adapter='default')['adapter']
        assert 'active' not in a, a
        assert 'adapter' not in d.c.call('gen.start', prompt='bee', max_tokens=2, seed=3)


def a_streamed_answer_can_be_cancelled():
    with night() as d:
        id = d.c.send('gen.start', prompt='bee', max_tokens=80, seed=1, stream=True)
        d.c.notify('$/cancel', id=id)
        try:
            r = d.c.wait(id)
            assert r['finish'] in ('length', 'stop')
        except RpcError as e:
            assert e.name == 'CANCELLED', e
        r = d.c.call('gen.start', prompt='bee', max_tokens=20, seed=1, stream=True)
        text = ''.join(i['text'] for i in d.c.items if i.get('kind') == 'text' and i['id'] == d.c.id)
        assert text == d.c.call('gen.start', prompt='bee', max_tokens=20, seed=1)['text'], text


def erased_records_take_their_versions_with_them():
    with night() as d:
        d.c.call('data.put_many', records=records(60), create_stream=True)
        job = d.c.call('train.start', recipe=RECIPE)['job']['id']
        assert wait_end(d, job)['state'] == 'done'
        plan = d.c.call('data.erase', stream='notes', dry_run=True)
        assert plan['records'] == 60 and plan['used_by'] == [{'adapter': 'default', 'version': 1, 'active': True}], plan
        done = d.c.call('data.erase', stream='notes')
        assert done['done'] and done['records'] == 60
        a = d.c.call('adapter.list')['adapters'][0]
        assert 'active' not in a and a['versions'][0]['state'] == 'retired', a
        for root, _, files in os.walk(os.path.join(d.dir, 'd')):
            for f in files:
                if f.endswith('.sock'):
                    continue
                with open(os.path.join(root, f), 'rb') as h:
                    assert b'lime tree' not in h.read(), f


def prefix_path(d):
    return os.path.join(d.dir, 'd/prefix.cache')


def train_last(d, **kw):
    """A whole job in which only the last of two blocks learns; its newest version."""
    job = d.c.call('train.start', recipe=dict(RECIPE, last_blocks=1, **kw))['job']['id']
    j = wait_end(d, job)
    assert j['state'] == 'done', j
    return d.c.call('adapter.show', adapter='default')['adapter']['versions'][-1]


def notices(d):
    return d.c.call('events.watch', kinds=['job_notice'])['events']


def states_of_a_frozen_prefix_are_kept_between_epochs_and_jobs():
    with night() as d:
        d.c.call('data.put_many', records=records(60), create_stream=True)
        train_last(d)
        size = os.stat(prefix_path(d)).st_size
        assert os.stat(prefix_path(d)).st_mode & 0o777 == 0o600
        # 60 records of a dozen tokens or more, 32 values of 2 bytes each.
        assert size > 60 * 12 * 64, size
        wait_for('the size in status', 10, lambda: d.c.call('status')['prefix_bytes'] == size)
        with open(prefix_path(d), 'rb') as f:
            before = f.read()
        train_last(d)
        with open(prefix_path(d), 'rb') as f:
            assert f.read() == before, 'the second job computed them again'
        assert notices(d) == []
        # Damage is found, said once, and made good.
        with open(prefix_path(d), 'r+b') as f:
            f.seek(size // 2)
            f.write(b'damage' * 20)
        train_last(d)
        said = notices(d)
        assert len(said) == 1 and 'damaged' in said[0]['text'], said
        with open(prefix_path(d), 'rb') as f:
            after = f.read()
        assert b'damage' not in after and len(after) == size
        train_last(d, prefix_cache='int8')
        assert 'another model or scheme' in notices(d)[-1]['text'], notices(d)
        assert os.stat(prefix_path(d)).st_size < 0.75 * size
        d.c.call('policy.set', values={'prefix_cache_mib': 0})
        wait_for('the file to go', 10, lambda: not os.path.exists(prefix_path(d)))
        train_last(d)
        assert not os.path.exists(prefix_path(d))


def kept_states_change_no_byte_of_the_adapter():
    hashes = []
    for mib in (256, 0):
        with night() as d:
            d.c.call('policy.set', values={'prefix_cache_mib': mib})
            d.c.call('data.put_many', records=records(60), create_stream=True)
            hashes.append(train_last(d)['sha256'])
            assert os.path.exists(prefix_path(d)) == (mib > 0)
    assert hashes[0] == hashes[1], hashes


def erasing_a_record_erases_its_states():
    with night() as d:
        d.c.call('data.put_many', records=records(60), create_stream=True)
        train_last(d)
        with open(prefix_path(d), 'rb') as f:
            states = f.read()
        pieces = [states[i:i + 32] for i in range(1000, len(states) - 32, 4000)]
        plan = d.c.call('data.erase', ids=[1], dry_run=True)
        assert plan['records'] == 1 and os.path.exists(prefix_path(d))
        with open(prefix_path(d), 'rb') as held:
            assert d.c.call('data.erase', ids=[1])['records'] == 1
            assert held.read() == b'', 'who had it open still reads it'
            # What learns again without the record may have begun one anew.
            try:
                there = os.stat(prefix_path(d)).st_ino
            except FileNotFoundError:
                there = None
            assert there != os.fstat(held.fileno()).st_ino
        for root, _, files in os.walk(os.path.join(d.dir, 'd')):
            for name in files:
                if name.endswith('.sock'):
                    continue
                with open(os.path.join(root, name), 'rb') as h:
                    data = h.read()
                assert not [p for p in pieces if p in data], name


def a_scheme_is_found_saved_used_and_removed():
    with night() as d:
        # Nothing to measure on.
        fails(d, 'NOT_FOUND', 'no records', 'scheme.search', recipe=RECIPE)
        fails(d, 'NOT_FOUND', 'none has been saved', 'train.start', recipe=dict(RECIPE, scheme='@evening'))
        d.c.call('data.put_many', records=records(60), create_stream=True)

        # A budget that nothing fits is told with what would.
        text = fails(d, 'BAD_PARAMS', 'the smallest needs', 'scheme.search', recipe=RECIPE, seconds=1e-6)
        assert 'MiB' in text, text
        fails(d, 'BAD_PARAMS', 'above 0', 'scheme.search', seconds=-1.0)
        fails(d, 'BAD_PARAMS', 'save', 'scheme.search', save='a b')
        fails(d, 'NOT_FOUND', 'no stream', 'scheme.search', streams=['nope'])
        assert d.c.call('scheme.list')['schemes'] == []

        f = d.c.call('scheme.search', recipe=RECIPE, memory_mib=32, samples=8, save='evening')
        assert f['saved'] == 'evening' and f['records'] == 60, f
        assert 0 < f['gain'] <= 1 and f['params'] > 0 and f['seconds'] > 0, f
        assert f['arena_bytes'] + f['state_bytes'] <= 32 << 20, f
        assert 16 <= f['memory_mib'] <= 32, f
        assert json.loads(f['scheme'])['rules'], f
        again = d.c.call('scheme.search', recipe=RECIPE, memory_mib=32, samples=8)
        assert 'saved' not in again and again['scheme'] == f['scheme'], (again, f)
        listed = d.c.call('scheme.list')['schemes']
        assert [(s['name'], s['model'], s['scheme']) for s in listed] == [('evening', 'tiny', f['scheme'])], listed

        # A plan and a job have the scheme itself.
        recipe = dict(RECIPE, scheme='@evening')
        plan = d.c.call('plan', recipe=recipe)
        assert plan['params'] == f['params'] and plan['recipe']['scheme'] == f['scheme'], plan
        job = d.c.call('train.start', recipe=recipe)['job']['id']
        d.c.call('scheme.remove', scheme='evening')
        j = wait_end(d, job)
        assert j['state'] == 'done' and j['recipe']['scheme'] == f['scheme'], j
        assert j['heldout_best'] < j['heldout_start'], j

        d.c.call('scheme.search', recipe=RECIPE, samples=4, save='other')
        text = fails(d, 'NOT_FOUND', 'those saved are other', 'train.start', recipe=recipe)
        fails(d, 'NOT_FOUND', 'those saved are other', 'plan', recipe=recipe)
        fails(d, 'NOT_FOUND', 'those saved are other', 'scheme.remove', scheme='evening')
        fails(d, 'BAD_PARAMS', 'scheme list', 'plan', recipe=dict(RECIPE, scheme='@'))


def a_scheme_of_the_policy_is_what_jobs_learn_by():
    with night() as d:
        d.c.call('policy.set', values={'train_scheme': 'lora-last:1'})
        d.c.call('policy.set', values={'train_' + k: v for k, v in RECIPE.items()})
        d.c.call('data.put_many', records=records(60), create_stream=True)
        own = ({}, {'scheme': 'lora-last:1'}, {'scheme': ''}, {'last_blocks': 2})
        plans = [d.c.call('plan', recipe=r) for r in own]
        assert ['scheme' in p['recipe'] for p in plans] == [True, True, False, False], plans
        assert plans[0]['params'] == plans[1]['params'] < plans[2]['params'], plans
        job = d.c.call('train.start', recipe={'lr': 0.02})['job']['id']
        j = wait_end(d, job)
        assert j['state'] == 'done' and j['recipe']['scheme'] == 'lora-last:1', j

        # One that is saved is put into the job when it is queued, automatic ones too.
        f = d.c.call('scheme.search', samples=4, save='evening')
        fails(d, 'NOT_FOUND', 'those saved are evening', 'policy.set', values={'train_scheme': '@morning'})
        d.c.call('policy.set', values={'train_scheme': '@evening'})
        fails(d, 'CONFLICT', 'train_scheme=', 'scheme.remove', scheme='evening')
        d.c.call('data.put_many', records=records(30, 60))
        d.c.call('policy.set', values={'min_records': 16})
        auto = wait_for('an automatic job', 30, lambda: jobs(d))[0]['id']
        j = wait_end(d, auto)
        assert j['state'] == 'done' and j['recipe']['scheme'] == f['scheme'], j

        # What only the model can tell, the job says.
        d.c.call('policy.set', values={'min_records': 10000, 'train_scheme': 'lora-last:99'})
        j = wait_end(d, d.c.call('train.start')['job']['id'])
        assert j['state'] == 'failed' and 'lora-last:99' in json.dumps(j), j

        # The default, as before.
        d.c.call('policy.set', values={'train_scheme': None})
        d.c.call('scheme.remove', scheme='evening')
        j = wait_end(d, d.c.call('train.start')['job']['id'])
        assert j['state'] == 'done' and 'scheme' not in j['recipe'], j


def fails(d, name, part, method, **params):
    """The sentence of a failure, in which `part` must be."""
    try:
        d.c.call(method, **params)
    except RpcError as e:
        assert e.name == name and part in e.msg, (e.name, e.msg)
        return e.msg
    raise AssertionError(method + ' did not fail')


def erasing_while_it_trains_stops_it_first():
    with night() as d:
        start_long(d)
        assert d.c.call('data.erase', ids=[1])['records'] == 1
        j = jobs(d)[0]
        wait_for('training to start over', 30, lambda: jobs(d)[0]['state'] == 'running' and jobs(d)[0]['step'] > 0)
        assert jobs(d)[0]['attempts'] == j['attempts'] + 1 or j['attempts'] == 2


def nothing_is_left_after_a_clean_stop():
    with night() as d:
        start_long(d)
        pid = worker_pid(d)
        assert d.stop() == 0
        assert not os.path.exists('/proc/%d' % pid)
        assert not os.path.exists(d.socket)
        assert not [f for f in os.listdir(os.path.join(d.dir, 'd/ckpt')) if f.endswith('.tmp')]
        d.start()
        d.c = d.client()
        assert jobs(d)[0]['stop_reason'] in ('SHUTDOWN', 'NONE'), jobs(d)


if __name__ == '__main__':
    main([
        a_night_begins_when_the_gates_open_and_ends_with_a_version,
        what_did_not_pass_is_judged_anew_when_it_is_learned_again,
        a_pockd_that_is_not_installed_finds_its_probe,
        another_rank_starts_from_the_base_and_is_compared_all_the_same,
        stops_when_unplugged_and_goes_on_from_its_checkpoint,
        a_killed_worker_costs_only_the_steps_since_its_checkpoint,
        a_worker_that_hangs_is_killed_and_its_job_goes_on,
        a_worker_that_dies_wherever_it_is_ends_the_job,
        one_record_that_kills_workers_is_found_and_left_out,
        every_night_is_in_the_history,
        a_policy_that_contradicts_itself_is_refused,
        a_job_ends_with_the_same_bytes_though_kernels_are_timed_again,
        a_table_of_kernel_times_that_is_of_no_use_is_told_of_once,
        kernels_are_not_timed_beside_a_job,
        forward_passes_alone_learn_through_a_kill_and_leave_a_journal,
        a_private_run_says_what_it_spent,
        what_users_took_and_what_not_is_learned,
        pockctl_trains_by_forward_passes,
        a_killed_daemon_goes_on_with_the_job,
        train_now_overrides_idle_but_not_power,
        inhibit_stops_training_until_the_connection_ends,
        pause_and_resume_one_job,
        a_full_disk_pauses_the_job_and_says_so,
        whole_weights_learn_and_leave_as_a_model_or_a_lora,
        adapters_are_exported_imported_rolled_back_and_used,
        a_streamed_answer_can_be_cancelled,
        a_scheme_is_found_saved_used_and_removed,
        a_scheme_of_the_policy_is_what_jobs_learn_by,
        erased_records_take_their_versions_with_them,
        states_of_a_frozen_prefix_are_kept_between_epochs_and_jobs,
        kept_states_change_no_byte_of_the_adapter,
        erasing_a_record_erases_its_states,
        erasing_while_it_trains_stops_it_first,
        nothing_is_left_after_a_clean_stop,
    ])
