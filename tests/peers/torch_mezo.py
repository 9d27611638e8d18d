#!/usr/bin/env python3
# SPDX-FileCopyrightText: the pockd authors
# SPDX-License-Identifier: Apache-2.0
"""What a query of MeZO costs in PyTorch, by the loop of its paper (Malladi et al., arXiv 2305.17333, algorithm 1):
what learns is moved in place along a direction that a seed makes, the loss is measured there and on the other side,
the values are put back, and then moved along the same direction by the difference. Prints milliseconds of a query and
the peak of resident memory as JSON.

What learns: "all" weights, as MeZO does without an adapter, or "lora", B of the adapter of lora_speed.py.

usage: torch_mezo.py SHAPE BATCH LENGTH f32|bf16 all|lora [--threads N] [--seconds S]
"""
import argparse
import json
import resource
import statistics
import time

import torch
from lora_speed import SHAPES, Llama
from torch.nn import functional as F

EPS, RATE = 1e-3, 1e-6


def values_of(model, what):
    """The tensors that learn."""
    if what == 'lora':
        return [p for name, p in model.named_parameters() if name.endswith('.b')]
    weights = [p for name, p in model.named_parameters() if name.endswith('.weight')]
    return [model.embedding, model.norm] + [n for block in model.blocks for n in block.norms] + weights


def move(values, seed, size):
    """Every value by `size` times its direction."""
    torch.manual_seed(seed)
    for v in values:
        v.add_(torch.normal(0, 1, size=v.shape, dtype=v.dtype), alpha=size)


def query(model, values, ids, seed):
    def loss():
        logits = model(ids[:, :-1])
        return F.cross_entropy(logits.flatten(0, 1).float(), ids[:, 1:].flatten()).item()

    move(values, seed, EPS)
    above = loss()
    move(values, seed, -2 * EPS)
    below = loss()
    move(values, seed, EPS)
    move(values, seed, -RATE * (above - below) / (2 * EPS))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('shape', choices=SHAPES)
    parser.add_argument('batch', type=int)
    parser.add_argument('length', type=int)
    parser.add_argument('dtype', choices=['f32', 'bf16'])
    parser.add_argument('learns', choices=['all', 'lora'])
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--seconds', type=float, default=10)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(1)

    shape = SHAPES[args.shape]
    model = Llama(shape, args.length, torch.bfloat16 if args.dtype == 'bf16' else torch.float32)
    ids = torch.randint(0, shape[-1], (args.batch, args.length + 1))
    values = values_of(model, args.learns)
    times, cpu = [], []
    with torch.inference_mode():
        query(model, values, ids, 0)  # allocates
        while not times or sum(times) < args.seconds:
            begin, used = time.perf_counter(), time.process_time()
            query(model, values, ids, len(times) + 1)
            times.append(time.perf_counter() - begin)
            cpu.append(time.process_time() - used)
    print(json.dumps({
        'bench': 'mezo', 'version': torch.__version__, 'queries': len(times),
        'query_ms': round(min(times) * 1e3, 2), 'median_ms': round(statistics.median(times) * 1e3, 2),
        'cpu_ms': round(min(cpu) * 1e3, 2),
        'values': sum(v.numel() for v in values),
        'peak_mib': round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    }, separators=(',', ':')))


if __name__ == '__main__':
    main()
