#!/usr/bin/env python3
# SPDX-FileCopyrightText: the pockd authors
# SPDX-License-Identifier: Apache-2.0
"""Small random models of each architecture, as transformers saves them, and
their perplexity over a text as llama-perplexity counts it.

usage (where PyTorch and transformers are):
  convert_models.py make TOKENIZER.json DIR
  convert_models.py perplexity DIR TEXT CONTEXT [MODEL...]
"""
import json
import math
import os
import shutil
import sys

import torch
import transformers as tf

SIZES = dict(hidden_size=256, intermediate_size=512, num_hidden_layers=6,
             num_attention_heads=8, num_key_value_heads=2, vocab_size=8192,
             max_position_embeddings=512, bos_token_id=0, eos_token_id=0,
             pad_token_id=0, tie_word_embeddings=True)
MODELS = {
    'llama': (tf.LlamaConfig, dict(rope_theta=10000.0, rope_scaling=dict(
        rope_type='llama3', factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
        original_max_position_embeddings=128))),
    'qwen2': (tf.Qwen2Config, {}),
    'qwen3': (tf.Qwen3Config, dict(head_dim=64)),
    'gemma2': (tf.Gemma2Config, dict(head_dim=64, query_pre_attn_scalar=64, sliding_window=64)),
    'gemma3': (tf.Gemma3TextConfig, dict(head_dim=64, query_pre_attn_scalar=64, sliding_window=64)),
    'phi3': (tf.Phi3Config, dict(sliding_window=None)),
    'olmo2': (tf.Olmo2Config, {}),
}


def make(tokenizer, out):
    for name, (config, more) in MODELS.items():
        torch.manual_seed(1)
        c = config(**{**SIZES, **more})
        m = tf.AutoModelForCausalLM.from_config(c).float()
        with torch.no_grad():
            for key, p in m.named_parameters():
                if p.ndim == 2:
                    p.normal_(0, 0.08 if 'embed' in key or 'head' in key else 0.06)
                elif 'bias' in key:
                    p.normal_(0, 0.1)
                else:
                    p.add_(torch.randn_like(p) * 0.1)
        m.save_pretrained(f'{out}/{name}')
        shutil.copy(tokenizer, f'{out}/{name}/tokenizer.json')


def perplexity(out, text, context, models):
    tokenizer = tf.PreTrainedTokenizerFast(tokenizer_file=f'{out}/llama/tokenizer.json')
    ids = tokenizer(open(text).read(), add_special_tokens=False)['input_ids']
    for name in models or MODELS:
        m = tf.AutoModelForCausalLM.from_pretrained(
            f'{out}/{name}', dtype=torch.float32, attn_implementation='eager').eval()
        total, count, first = 0.0, 0, context // 2
        for at in range(0, len(ids) - context + 1, context):
            x = torch.tensor([ids[at:at + context]])
            with torch.no_grad():
                p = m(x).logits[0, first:-1].log_softmax(-1)
            total -= p.gather(1, x[0, first + 1:, None]).sum().item()
            count += context - first - 1
        print(name, f'{math.exp(total / count):.4f}', flush=True)


if sys.argv[1] == 'make':
    make(sys.argv[2], sys.argv[3])
else:
    perplexity(sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5:])
