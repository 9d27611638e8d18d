#!/usr/bin/env python3
# SPDX-FileCopyrightText: the pockd authors
# SPDX-License-Identifier: Apache-2.0
"""Makes the table of figures in README.md from what the benchmarks print.

usage: table.py [--update] RESULT.json...    --update: rewrite README.md
"""
import json
import os
import pathlib
import platform
import re
import sys

# bench, key, what it is, unit and digits, the figure to reach
ROWS = [
    ('steps', 'train_tokens_per_s', 'training, Q8_0, LoRA r 8 on all linears, 4 x 256', '{:,.0f} tokens/s', '>= 2,500'),
    ('steps', 'peak_mib', 'peak resident memory of that', '{:,.0f} MiB', '< 150'),
    ('steps', 'gen_tokens_per_s', 'generation, Q8_0', '{:,.0f} tokens/s', '>= 300'),
    ('steps', 'prompt_tokens_per_s', 'reading a prompt, Q8_0', '{:,.0f} tokens/s', ''),
    ('demo', 'notebook_after', 'demo: held-out loss of the notebook, from {notebook_before:.2f}', '{:.3f} nats/token', '<= 3.947 (PyTorch 3.87 + 2 %)'),
    ('demo', 'replies_after', 'demo: held-out loss of the replies, from {replies_before:.2f}', '{:.3f} nats/token', '<= 3.519 (PyTorch 3.45 + 2 %)'),
    ('demo', 'seconds', 'demo: the run that gave it, until it stopped by itself', '{:,.0f} s', ''),
    ('prefix32', 'last_ratio', 'a step of lora-last:5 against lora-all, 32 blocks with a small head', '{:.2f} times faster', '>= 1.6'),
    ('prefix32', 'read_ratio', 'the same from the second epoch on: a frozen prefix that was kept (work: {read_flop_ratio:.2f} times less)', '{:.2f} times faster', '>= 4.5'),
    ('prefix8', 'read_ratio', 'the same for the demo model, last half of its blocks (work: {read_flop_ratio:.2f} times less)', '{:.2f} times faster', ''),
    ('plan_qwen05b', 'planned_mb', 'memory beyond mapped weights, shape of Qwen2.5-0.5B in Q8_0, LoRA r 8 on all linears, 1 x {length}: arena {arena_mb:.0f} + adapter and optimizer {state_mb:.0f}, {again_pct:.0f} % of the work done again', '{:,.1f} MB', '<= 136'),
    ('plan_qwen05b', 'peak_mb', 'the same as the kernel counts it: all anonymous pages of the process, {open_mb:.0f} of them before training', '{:,.0f} MB', ''),
    ('plan_qwen05b', 'bound_pct', 'its arena above the largest sum of live bytes', '{:.2f} %', '<= 5'),
    ('plan_qwen05b', 'compile_ms', 'compiling that program', '{:,.0f} ms', '< 300'),
    ('plan_qwen05b', 'lookup_us', 'finding a compiled program again', '{:,.2f} us', '< 10,000'),
    ('plan_4b', 'peak_mb', 'anonymous memory of a training step of the 4B shape in Q4_0, 1 x {length}', '{:,.0f} MB', '< 1,000'),
    ('store', 'records_per_s', 'durable sealed records in batches of 64, store alone', '{:,.0f} records/s', '>= 50,000'),
    ('sealing', 'ns', 'sealing one of them, of 350 bytes', '{:,.0f} ns', ''),
    ('ipc', 'put_many_records_per_s', 'durable sealed records in batches of 64, through the socket', '{:,.0f} records/s', '>= 50,000'),
    ('erase', 'ms', 'erasing 10,000 of 100,000 records, no two of them together, and 3 versions of 4 MiB', '{:,.0f} ms', '< 5,000'),
    ('opening', 'ms', 'opening a store of 100,000 records', '{:,.1f} ms', '< 50'),
    ('ipc1', 'ping_p50_us', 'ping, median, client and daemon on one core', '{:,.0f} us', '< 60'),
    ('ipc', 'ping_p50_us', 'ping, median, each waking the other core from sleep', '{:,.0f} us', '< 60'),
    ('idle', 'rss_kib', 'idle pockd: resident memory', '{:,.0f} KiB', '< 8,192'),
    ('idle', 'calls', 'idle pockd: system calls in {seconds:.0f} s', '{:,.0f}', '0'),
    ('idle_bus', 'rss_kib', 'idle pockd that hears a bus: resident memory', '{:,.0f} KiB', '< 10,000'),
    ('idle_bus', 'wakeups', 'the same: wake-ups in {seconds:.0f} s', '{:,.0f}', '< 0.1 a second'),
    ('idle_bus', 'written', 'the same: bytes written', '{:,.0f}', '0'),
]


def machine():
    names = re.findall(r'model name\s*: (.*)', pathlib.Path('/proc/cpuinfo').read_text())
    return f'{names[0] if names else platform.machine()}, {os.cpu_count()} cores'


def stairs(r, title):
    """One model's steps; losses where they were measured."""
    has_loss = 'held_out' in r['rows'][0]
    lines = [f'| {title} | ms a step | faster | GFLOP | arena, MiB | of it for backward | state, MiB |'
             + (' held-out loss | of LoRA\'s gain |' if has_loss else ''), '|' + '---|' * (9 if has_loss else 7)]
    for row in r['rows']:
        line = (f'| {row["name"]} | {row["ms"]:,.0f} | {r["rows"][row["of"]]["ms"] / row["ms"]:.2f} x '
                f'| {row["gflop"]:,.0f} | {row["arena_mib"]:,.1f} | {row["backward_mib"]:,.1f} | {row["state_mib"]:,.1f} |')
        lines.append(line + (f' {row["held_out"]:.3f} | {row["kept"]:.1f} % |' if has_loss else ''))
    return lines


def staircase(results):
    """What steps cost when less learns: 32 blocks with a small head, and the demo model."""
    big, demo = results.get('schemes32'), results.get('schemes8')
    if not big or not demo:
        return ''
    less = big['rows'][0]['backward_mib'] / big['rows'][4]['backward_mib']
    return '\n'.join([
        f'Measured by `tests/bench/run.sh --staircase` on: {machine()} ({demo["device"]}). "Faster" is than all '
        'weights, for rows of LoRA than LoRA on all linears; GFLOP are of a step of full rows; K is the last '
        f'{big["last"]} of 32 blocks and {demo["last"]} of 8. PockEngine\'s backward pass takes {less:.1f} times '
        'less memory than that of all weights (32 blocks).', '',
        *stairs(big, '32 blocks, small head'), '',
        *stairs(demo, f'demo model, from {demo["start"]:.3f}')])


# Rows of training, in the words of a reader; what QVAC's trainer reached, tokens/s and MiB resident, recorded with
# 2 threads on another machine, 2 cores of a Zen 5.
TRAINED = [
    ('smollm135m q8_0', 'SmolLM-135M, 1 x 256, Q8_0', None, None),
    ('llama29m f32', '29M llama, 1 x 128, F32', 813, 200),
    ('llama29m q8_0', 'the same, Q8_0', 395, 119),
    ('llama29m q4_0', 'the same, Q4_0', 106, 109),
    ('llama29m q4_k_m', 'the same, Q4_K_M', 113, 110),
    ('stories15m q8_0', 'stories15M, 4 x 256, Q8_0', None, None),
    ('qwen3_06b q8_0', 'sizes of Qwen3-0.6B, as a llama, 1 x 128, Q8_0', 19.3, 1326),
    ('qwen3_06b q4_0', 'the same, Q4_0', 5.7, 1080),
]


def number(x):
    return '' if x is None else f'{x:,.{1 if x < 100 else 0}f}'


def times(ours, theirs):
    return f'{ours / theirs:.1f}' if ours and theirs else ''


def trained(best):
    peak = (best.get(('peak bf16', 'pockd')) or best[('peak f32', 'pockd')])['peak_gflops']
    lines = ['| training, tokens/s | pockd | of the peak | pockd, f32 | PyTorch, bf16 | PyTorch, f32 | QVAC, recorded '
             '| times faster: than the better PyTorch | f32 than f32 | than QVAC | pockd, anonymous MiB | PyTorch, resident MiB, bf16 / f32 '
             '| QVAC, resident MiB |', '|' + '---|' * 13]
    for row, what, qvac, qvac_mib in TRAINED:
        shape = row.split()[0]
        pock, pock32, torch, torch32 = (best.get(key, {}) for key in (
            (row, 'pockd bf16'), (row, 'pockd f32'), (shape, 'torch bf16'), (shape, 'torch f32')))
        if not pock or not (torch or torch32 or qvac):
            continue
        rate, rate32, peer, peer32 = (r.get('tokens_per_s') for r in (pock, pock32, torch, torch32))
        memory = ' / '.join(number(r['peak_mib']) for r in (torch, torch32) if r)
        lines.append(
            f'| {what} | {number(rate)} | {100 * pock["gflops"] / peak:.0f} % | {number(rate32)} | {number(peer)} '
            f'| {number(peer32)} | {number(qvac)} | {times(rate, max(peer or 0, peer32 or 0))} '
            f'| {times(rate32, peer32)} | {times(rate, qvac)} | {number(pock["anonymous_mib"])} | {memory} '
            f'| {number(qvac_mib)} |')
    return lines


def generated(best):
    lines = ['', '| tokens/s | pockd, generation | llama.cpp | times faster | pockd, prompt | llama.cpp | times faster |',
             '|' + '---|' * 7]
    for (row, who), ours in best.items():
        if who != 'pockd' or 'gen_tokens_per_s' not in ours:
            continue
        made, read = (best.get((row, who), {}).get('tokens_per_s') for who in ('llama.cpp tg', 'llama.cpp pp'))
        name = row.replace('llama29m', '29M llama,').replace('pock-16m', 'pock-16m,').upper().replace(
            'LLAMA', 'llama').replace('POCK-16M', 'pock-16m')
        lines.append(f'| {name} | {number(ours["gen_tokens_per_s"])} | {number(made)} '
                     f'| {times(ours["gen_tokens_per_s"], made)} | {number(ours["prompt_tokens_per_s"])} '
                     f'| {number(read)} | {times(ours["prompt_tokens_per_s"], read)} |')
    return lines if len(lines) > 3 else []


def peers(runs):
    """pockd and others in turn: of each the better of the runs."""
    best = {}
    for r in runs:
        who = r['who']
        if 'samples_ts' in r:
            who += ' tg' if r['n_gen'] else ' pp'
            r['tokens_per_s'] = max(r['samples_ts'])
        key = (r['row'], who)
        rate = ('mean_tokens_per_s' if who in ('quiet', 'beside') else
                'peak_gflops' if 'peak_gflops' in r else 'tokens_per_s')
        if 'gen_tokens_per_s' in r:
            # Each figure's own best.
            r = {k: max(v, best.get(key, r)[k]) if k.endswith('_per_s') else v for k, v in r.items()}
            best[key] = r
        elif key not in best or r[rate] > best[key][rate]:
            best[key] = r
    if not any(who == 'pockd bf16' for _, who in best) or ('peak f32', 'pockd') not in best:
        return ''
    device = next(r['device'] for r in best.values() if 'device' in r)
    versions = [f'PyTorch {r["version"]}' for r in best.values() if 'version' in r][:1]
    versions += [f'llama.cpp {r["build_number"]}' for r in best.values() if 'build_number' in r][:1]
    with_peers = f' with {" and ".join(versions)} of Debian' if versions else ''
    lines = [f'Measured by `tests/bench/run.sh --peers` on: {machine()} ({device}){with_peers}; a virtual machine whose '
             'host is shared. Of each side the best run; an empty cell was not measured, or its program was not there.', '',
             *trained(best), *generated(best)]
    quiet, beside = best.get(('llama29m f32', 'quiet')), best.get(('llama29m f32', 'beside'))
    if quiet and beside:
        share = 100 * beside['mean_tokens_per_s'] / quiet['mean_tokens_per_s']
        lines += ['', f'With one busy loop beside it on the same cores, and no idle class, pockd trains the 29M llama at '
                  f'{share:.0f} % of its speed ({number(beside["mean_tokens_per_s"])} of '
                  f'{number(quiet["mean_tokens_per_s"])} tokens/s; to reach: 65 %). QVAC\'s trainer kept 28 to 41 % '
                  'there, as recorded.']
    return '\n'.join(lines)


def replace(name, text):
    """Puts it between the marks of that name in README.md."""
    path = pathlib.Path('README.md')
    begin, end = f'<!-- {name}: begin -->', f'<!-- {name}: end -->'
    old = path.read_text()
    path.write_text(old[:old.index(begin) + len(begin)] + '\n' + text + '\n' + old[old.index(end):])


def main():
    update = '--update' in sys.argv
    results, runs = {}, []
    for name in sys.argv[1:]:
        if name != '--update':
            for line in pathlib.Path(name).read_text().splitlines():
                if line.startswith('{'):
                    r = json.loads(line)
                    key = r.get('bench', '')
                    if key == 'peers':
                        runs.append(r)
                        continue
                    results[key if key != 'schemes' else f'schemes{32 if "32" in name else 8}'] = r
    device = results.get('steps', {}).get('device', '')
    lines = [f'Measured by `tests/bench/run.sh` on: {machine()} ({device}); a virtual machine whose host is shared.', '',
             '| figure | measured | to reach |', '|---|---|---|']
    for bench, key, what, form, goal in ROWS:
        r = results.get(bench)
        if r and r.get(key) is not None:
            lines.append(f'| {what.format(**r)} | {form.format(r[key])} | {goal} |')
    tables = {'staircase': staircase(results), 'peers': peers(runs)}
    if device:
        tables['figures'] = '\n'.join(lines)
    for name, text in tables.items():
        if text:
            print(text)
        if text and update:
            replace(name, text)


main()
