#!/usr/bin/env python3
# SPDX-FileCopyrightText: the pockd authors
# SPDX-License-Identifier: Apache-2.0
"""What training with PyTorch costs: LoRA of rank 8 on the seven linears of each block of a llama with random
weights, AdamW, cross entropy of every token. Prints tokens/s and the peak of resident memory as JSON.

With bf16 the frozen weights are stored as such: autocast would convert them again in every step.

usage: lora_speed.py SHAPE BATCH LENGTH f32|bf16 [--threads N] [--seconds S]
"""
import argparse
import json
import resource
import statistics
import time

import torch
from torch import nn
from torch.nn import functional as F

# blocks, width, heads, key-value heads, size of a head, ffn width, vocabulary: as in tests/support/shapefile.c
SHAPES = {
    'stories15m': (6, 288, 6, 6, 48, 768, 32000),
    'llama29m': (4, 512, 8, 4, 64, 1536, 32000),
    'smollm135m': (30, 576, 9, 3, 64, 1536, 49152),
    'qwen3_06b': (28, 1024, 16, 8, 128, 3072, 151936),
}
RANK, ALPHA = 8, 16


class Linear(nn.Module):
    """Frozen weights and an adapter, which stays in f32."""

    def __init__(self, n_in, n_out, dtype):
        super().__init__()
        self.weight = nn.Parameter((torch.randn(n_out, n_in) * n_in ** -0.5).to(dtype), requires_grad=False)
        self.a = nn.Parameter(torch.randn(RANK, n_in) * n_in ** -0.5)
        self.b = nn.Parameter(torch.zeros(n_out, RANK))

    def forward(self, x):
        z = F.linear(x, self.a.to(x.dtype))
        return F.linear(x, self.weight) + ALPHA / RANK * F.linear(z, self.b.to(x.dtype))


def rotate(x, cos, sin):
    left, right = x.chunk(2, dim=-1)
    return torch.cat((left * cos - right * sin, right * cos + left * sin), dim=-1)


class Block(nn.Module):
    def __init__(self, shape, dtype):
        super().__init__()
        _, width, self.heads, self.kv_heads, self.dim, ffn, _ = shape
        self.q = Linear(width, self.heads * self.dim, dtype)
        self.k = Linear(width, self.kv_heads * self.dim, dtype)
        self.v = Linear(width, self.kv_heads * self.dim, dtype)
        self.o = Linear(self.heads * self.dim, width, dtype)
        self.gate = Linear(width, ffn, dtype)
        self.up = Linear(width, ffn, dtype)
        self.down = Linear(ffn, width, dtype)
        self.norms = [torch.ones(width, dtype=dtype) for _ in range(2)]

    def forward(self, x, cos, sin):
        batch, length, width = x.shape
        h = F.rms_norm(x, (width,), self.norms[0], 1e-5)
        q, k, v = (y.view(batch, length, -1, self.dim).transpose(1, 2) for y in (self.q(h), self.k(h), self.v(h)))
        y = F.scaled_dot_product_attention(rotate(q, cos, sin), rotate(k, cos, sin), v, is_causal=True,
                                           enable_gqa=self.heads != self.kv_heads)
        x = x + self.o(y.transpose(1, 2).reshape(batch, length, -1))
        h = F.rms_norm(x, (width,), self.norms[1], 1e-5)
        return x + self.down(F.silu(self.gate(h)) * self.up(h))


class Llama(nn.Module):
    def __init__(self, shape, length, dtype):
        super().__init__()
        blocks, width, _, _, dim, _, vocab = shape
        self.embedding = (torch.randn(vocab, width) * 0.02).to(dtype)
        self.blocks = nn.ModuleList(Block(shape, dtype) for _ in range(blocks))
        self.norm = torch.ones(width, dtype=dtype)
        angles = torch.arange(length)[:, None] * 1e4 ** (-torch.arange(0, dim, 2) / dim)
        self.cos, self.sin = angles.cos().to(dtype), angles.sin().to(dtype)

    def forward(self, ids):
        x = F.embedding(ids, self.embedding)
        for block in self.blocks:
            x = block(x, self.cos, self.sin)
        return F.linear(F.rms_norm(x, (x.shape[-1],), self.norm, 1e-5), self.embedding)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('shape', choices=SHAPES)
    parser.add_argument('batch', type=int)
    parser.add_argument('length', type=int)
    parser.add_argument('dtype', choices=['f32', 'bf16'])
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--seconds', type=float, default=10)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(1)

    shape = SHAPES[args.shape]
    model = Llama(shape, args.length, torch.bfloat16 if args.dtype == 'bf16' else torch.float32)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)
    # One more than a row is long: every place of it has a token to predict.
    ids = torch.randint(0, shape[-1], (args.batch, args.length + 1))

    def step():
        logits = model(ids[:, :-1])
        F.cross_entropy(logits.flatten(0, 1).float(), ids[:, 1:].flatten()).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    step()  # allocates
    times = []
    while len(times) < 2 or sum(times) < args.seconds:
        begin = time.perf_counter()
        step()
        times.append(time.perf_counter() - begin)
    seconds = statistics.median(times)
    print(json.dumps({
        'bench': 'torch', 'version': torch.__version__, 'steps': len(times), 'step_ms': round(seconds * 1e3, 2),
        'tokens_per_s': round(args.batch * args.length / seconds, 1),
        'peak_mib': round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    }, separators=(',', ':')))


if __name__ == '__main__':
    main()
