#!/usr/bin/env python3
# SPDX-FileCopyrightText: the pockd authors
# SPDX-License-Identifier: Apache-2.0
"""What transformers makes of the tiny models of parity_arch --write.

usage: arch_golden.py DIR OUT

For each DIR/NAME.gguf a transformers model of the file's architecture gets the
file's metadata and weights (rows of Q and K put back in their order for llama,
gains of norms less one for gemma), and the LoRA of DIR/NAME-lora.gguf by hooks.
OUT/NAME.txt gets lines of a name and numbers: the loss, the loss of each token,
some logits, and of each gradient its length and its products with four
vectors. The adapter as PEFT has it, DIR/NAME-peft, must give the same logits.
"""
import json
import pathlib
import struct
import sys

import numpy as np
import torch
import transformers
from safetensors.numpy import load_file

BATCH, LENGTH, RANK = 2, 24, 4
SCALE = 2.0  # alpha / rank
FORMATS = ['B', 'b', 'H', 'h', 'I', 'i', 'f', '?', None, None, 'Q', 'q', 'd']


def read_gguf(path):
    data = path.read_bytes()
    at = 8

    def take(fmt):
        nonlocal at
        value, = struct.unpack_from('<' + fmt, data, at)
        at += struct.calcsize('<' + fmt)
        return value

    def text():
        nonlocal at
        n = take('Q')
        at += n
        return data[at - n:at].decode()

    def value(kind):
        if kind == 8:
            return text()
        if kind == 9:
            of, n = take('I'), take('Q')
            return [value(of) for _ in range(n)]
        return take(FORMATS[kind])

    n_tensors, n_meta = take('Q'), take('Q')
    meta = {}
    for _ in range(n_meta):
        key = text()
        meta[key] = value(take('I'))
    infos = []
    for _ in range(n_tensors):
        name = text()
        ne = [take('Q') for _ in range(take('I'))]
        assert take('I') == 0, 'F32'
        infos.append((name, ne, take('Q')))
    at = (at + 31) // 32 * 32
    tensors = {}
    for name, ne, offset in infos:
        values = np.frombuffer(data, '<f4', int(np.prod(ne)), at + offset)
        tensors[name] = values.reshape(ne[::-1]).copy()
    return meta, tensors


def hash_value(name, n):
    """The values 0 .. n - 1 of archfile_value()."""
    mask = (1 << 64) - 1
    h = 1469598103934665603
    for c in name.encode():
        h = ((h ^ c) * 1099511628211) & mask
    with np.errstate(over='ignore'):
        x = np.uint64(h) + (np.arange(1, n + 1, dtype=np.uint64) *
                            np.uint64(0x9e3779b97f4a7c15))
        x = (x ^ x >> np.uint64(30)) * np.uint64(0xbf58476d1ce4e5b9)
        x = (x ^ x >> np.uint64(27)) * np.uint64(0x94d049bb133111eb)
    x ^= x >> np.uint64(31)
    return (x >> np.uint64(40)).astype(np.float64) / 16777216.0 - 0.5


def config_of(meta, tensors):
    arch = meta['general.architecture']

    def get(key, otherwise=None):
        return meta.get(f'{arch}.{key}', otherwise)

    heads, dim = get('attention.head_count'), get('attention.key_length')
    base = get('rope.freq_base')
    rope = {'rope_type': 'default', 'rope_theta': base}
    if get('rope.scaling.type') == 'linear':
        rope = {'rope_type': 'linear', 'rope_theta': base,
                'factor': get('rope.scaling.factor')}
    if 'rope_factors_long.weight' in tensors:
        rope = {'rope_type': 'longrope', 'rope_theta': base,
                'long_factor': tensors['rope_factors_long.weight'].tolist(),
                'short_factor': tensors['rope_factors_short.weight'].tolist(),
                'original_max_position_embeddings':
                    get('rope.scaling.original_context_length')}
    common = dict(
        vocab_size=tensors['token_embd.weight'].shape[0],
        hidden_size=get('embedding_length'),
        intermediate_size=get('feed_forward_length'),
        num_hidden_layers=get('block_count'),
        num_attention_heads=heads,
        num_key_value_heads=get('attention.head_count_kv'),
        head_dim=dim,
        max_position_embeddings=get('context_length'),
        rms_norm_eps=get('attention.layer_norm_rms_epsilon'),
        tie_word_embeddings='output.weight' not in tensors,
        rope_parameters=rope,
        pad_token_id=0,
    )
    if arch == 'llama':
        bias = 'blk.0.attn_output.bias' in tensors
        return transformers.LlamaConfig(**common, attention_bias=bias)
    if arch == 'qwen2':
        return transformers.Qwen2Config(**common)
    if arch == 'qwen3':
        return transformers.Qwen3Config(**common)
    if arch == 'olmo2' and get('attention.sliding_window'):
        return transformers.Olmo3Config(
            **common, sliding_window=get('attention.sliding_window'))
    if arch == 'olmo2':
        return transformers.Olmo2Config(**common)
    if arch == 'phi3':
        dims = get('rope.dimension_count')
        rope['partial_rotary_factor'] = dims / dim
        return transformers.Phi3Config(
            **common, sliding_window=get('attention.sliding_window') or None,
            original_max_position_embeddings=get(
                'rope.scaling.original_context_length'))
    if arch == 'gemma2':
        return transformers.Gemma2Config(
            **common, sliding_window=get('attention.sliding_window'),
            query_pre_attn_scalar=dim,
            attn_logit_softcapping=get('attn_logit_softcapping'),
            final_logit_softcapping=get('final_logit_softcapping'))
    if arch == 'gemma3':
        common['rope_parameters'] = {
            'full_attention': rope,
            'sliding_attention': {'rope_type': 'default', 'rope_theta': 1e4}}
        return transformers.Gemma3TextConfig(
            **common, sliding_window=get('attention.sliding_window'),
            query_pre_attn_scalar=dim)
    raise ValueError(arch)


MODULES = {'attn_q': 'self_attn.q_proj', 'attn_k': 'self_attn.k_proj',
           'attn_v': 'self_attn.v_proj', 'attn_qkv': 'self_attn.qkv_proj',
           'attn_output': 'self_attn.o_proj', 'ffn_gate': 'mlp.gate_proj',
           'ffn_up': 'mlp.up_proj', 'ffn_down': 'mlp.down_proj',
           'attn_q_norm': 'self_attn.q_norm', 'attn_k_norm': 'self_attn.k_norm'}


def module_of(arch, stem):
    if arch == 'phi3' and stem == 'ffn_up':
        return 'mlp.gate_up_proj'
    if stem in MODULES:
        return MODULES[stem]
    norms = {'attn_norm': 'input_layernorm',
             'post_attention_norm': 'post_attention_layernorm',
             'post_ffw_norm': 'post_feedforward_layernorm',
             'ffn_norm': ('pre_feedforward_layernorm' if 'gemma' in arch
                          else 'post_attention_layernorm')}
    return norms[stem]


def hf_rows(arch, stem, x, dim):
    """Rows of Q and K of a llama, out of the order of pairs."""
    if arch != 'llama' or stem not in ('attn_q', 'attn_k'):
        return x
    y = x.reshape(-1, dim // 2, 2, *x.shape[1:])
    return np.ascontiguousarray(np.swapaxes(y, 1, 2)).reshape(x.shape)


def file_rows(arch, stem, x, dim):
    if arch != 'llama' or stem not in ('attn_q', 'attn_k'):
        return x
    y = x.reshape(-1, 2, dim // 2, *x.shape[1:])
    return np.ascontiguousarray(np.swapaxes(y, 1, 2)).reshape(x.shape)


def make_model(meta, tensors):
    arch = meta['general.architecture']
    config = config_of(meta, tensors)
    config._attn_implementation = 'eager'
    torch.manual_seed(0)
    kind = (transformers.Gemma3ForCausalLM if arch == 'gemma3'
            else transformers.AutoModelForCausalLM)
    model = (kind(config) if arch == 'gemma3' else kind.from_config(config))
    model = model.float().eval()
    state = {}
    for name, x in tensors.items():
        less = 1.0 if 'gemma' in arch and 'norm' in name else 0.0
        x = x - np.float32(less)
        if name == 'token_embd.weight':
            state['model.embed_tokens.weight'] = x
        elif name == 'output.weight':
            state['lm_head.weight'] = x
        elif name == 'output_norm.weight':
            state['model.norm.weight'] = x
        elif name.startswith('blk.'):
            _, block, stem, kind = name.split('.')
            x = hf_rows(arch, stem, x, config.head_dim)
            to = f'model.layers.{block}.{module_of(arch, stem)}.{kind}'
            state[to] = x
    if 'lm_head.weight' not in state:
        state['lm_head.weight'] = state['model.embed_tokens.weight']
    missing, extra = model.load_state_dict(
        {k: torch.from_numpy(np.ascontiguousarray(v))
         for k, v in state.items()}, strict=False)
    assert not extra and all('inv_freq' in m for m in missing), (missing, extra)
    if 'rope_freqs.weight' in tensors:
        model.model.rotary_emb.inv_freq /= torch.from_numpy(
            tensors['rope_freqs.weight'])
    for p in model.parameters():
        p.requires_grad_(False)
    return model


def hook(a, b):
    return lambda module, x, y: y + SCALE * ((x[0] @ a.t()) @ b.t())


def add_adapter(model, meta, lora):
    """{GGUF name without .lora_x: (A, B)}, of which gradients are asked."""
    arch = meta['general.architecture']
    dim = model.config.head_dim
    pairs = {}
    for name in lora:
        if not name.endswith('.lora_a'):
            continue
        of = name[:-len('.lora_a')]
        _, block, stem, _ = of.split('.')
        b = hf_rows(arch, stem, lora[of + '.lora_b'], dim)
        pair = [torch.nn.Parameter(torch.from_numpy(x.copy()))
                for x in (lora[name], b)]
        to = f'model.layers.{block}.{module_of(arch, stem)}'
        model.get_submodule(to).register_forward_hook(hook(*pair))
        pairs[of] = pair
    return pairs


def peft_logits(meta, tensors, path, tokens):
    """The logits with PEFT's files, applied by the names in them."""
    model = make_model(meta, tensors)
    config = json.loads((path / 'adapter_config.json').read_text())
    values = load_file(path / 'adapter_model.safetensors')
    prefix, tail = 'base_model.model.', '.lora_A.weight'
    for name in values:
        if not name.endswith(tail):
            continue
        module = name[len(prefix):-len(tail)]
        assert module.split('.')[-1] in config['target_modules'], name
        assert config['lora_alpha'] / config['r'] == SCALE
        a = torch.from_numpy(values[name])
        b = torch.from_numpy(values[name.replace('lora_A', 'lora_B')])
        model.get_submodule(module).register_forward_hook(hook(a, b))
    with torch.no_grad():
        return model(input_ids=tokens).logits


def numbers(f, name, values):
    f.write(name + ''.join(f' {float(v):.8g}' for v in values) + '\n')


def golden(path, out):
    name = path.stem
    meta, tensors = read_gguf(path)
    _, lora = read_gguf(path.with_name(name + '-lora.gguf'))
    model = make_model(meta, tensors)
    arch, dim = meta['general.architecture'], model.config.head_dim
    pairs = add_adapter(model, meta, lora)
    tokens = torch.from_numpy(
        (np.floor((hash_value('tokens', BATCH * LENGTH) + 0.5) * 256) +
         4).astype(np.int64)).view(BATCH, LENGTH)
    logits = model(input_ids=tokens).logits
    nll = torch.nn.functional.cross_entropy(
        logits[:, :-1].reshape(-1, logits.shape[-1]),
        tokens[:, 1:].reshape(-1), reduction='none').view(BATCH, -1)
    loss = nll.mean()
    loss.backward()
    other = peft_logits(meta, tensors, path.with_name(name + '-peft'), tokens)
    off = float((other - logits).abs().max() / logits.abs().max())
    assert off < 1e-5, f'{name}: PEFT is off by {off}'
    with open(out / f'{name}.txt', 'w', encoding='ascii') as f:
        numbers(f, 'loss', [loss])
        numbers(f, 'nll', torch.nn.functional.pad(nll, (0, 1)).flatten())
        for at in (10, 15, LENGTH - 1):
            numbers(f, f'logits.{at}', logits[0, at, :16])
        for of, pair in pairs.items():
            stem = of.split('.')[2]
            for side, p in zip('ab', pair):
                g = p.grad.double().numpy()
                if side == 'b':
                    g = file_rows(arch, stem, g, dim)
                g = g.reshape(-1)
                numbers(f, f'grad.{of}.lora_{side}',
                        [np.linalg.norm(g)] +
                        [g @ hash_value(f'along.{i}', g.size)
                         for i in range(4)])
    print(f'{name}: loss {float(loss):.6f}, PEFT off by {off:.1g}')


def main():
    where, out = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    out.mkdir(exist_ok=True)
    for path in sorted(where.glob('*.gguf')):
        if not path.stem.endswith('-lora'):
            golden(path, out)


main()
