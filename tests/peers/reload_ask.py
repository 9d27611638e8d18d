#!/usr/bin/env python3
# SPDX-FileCopyrightText: the pockd authors
# SPDX-License-Identifier: Apache-2.0
"""Asks a llama-server: the scale of its adapter 0, or what it makes of a text;
or makes that scale 0.

usage: reload_ask.py http://127.0.0.1:PORT|unix:PATH scale|answer|off
"""
import http.client
import json
import socket
import sys

PROMPT = {'prompt': [1, 5, 9, 13, 17, 21], 'n_predict': 4, 'temperature': 0, 'n_probs': 3, 'cache_prompt': False}


def connect(url):
    if url.startswith('unix:'):
        c = http.client.HTTPConnection('localhost')
        c.sock = socket.socket(socket.AF_UNIX)
        c.sock.connect(url[5:])
        return c
    return http.client.HTTPConnection(url.removeprefix('http://'))


def ask(url, method, path, body=None):
    c = connect(url)
    c.request(method, path, json.dumps(body) if body else None, {'Content-Type': 'application/json'})
    r = c.getresponse()
    data = r.read()
    if r.status != 200:
        sys.exit(f'{path}: {r.status} {data[:300]!r}')
    return json.loads(data)


if sys.argv[2] == 'off':
    ask(sys.argv[1], 'POST', '/lora-adapters', [{'id': 0, 'scale': 0}])
elif sys.argv[2] == 'scale':
    print(f'{ask(sys.argv[1], "GET", "/lora-adapters")[0]["scale"]:g}')
else:
    probs = ask(sys.argv[1], 'POST', '/completion', PROMPT)['completion_probabilities']
    print([[p['id'], [(t['id'], round(t['logprob'], 4)) for t in p['top_logprobs']]] for p in probs])
