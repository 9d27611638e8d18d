#!/usr/bin/env python3
# SPDX-FileCopyrightText: the pockd authors
# SPDX-License-Identifier: Apache-2.0
"""What is found in a record is in no file, not even in the log of the store."""
import contextlib
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from pockd_rpc import Daemon, RpcError, main  # noqa: E402

CARD = '4111 1111 1111 1111'
MAIL = 'maren.holt@example.org'
KEY = 'ghp_0123456789abcdefABCDEF0123456789abcd'


@contextlib.contextmanager
def daemon():
    with Daemon() as d:
        d.c = d.client()
        yield d


def record(n, **texts):
    kind = 'chat' if 'messages' in texts else 'pair' if 'completion' in texts else 'text'
    return dict({'uid': n.to_bytes(16, 'big'), 'kind': kind, 'stream': 'notes',
                 'time': 1740787200000 + n}, **texts)


def put(d, n, **texts):
    return d.c.call('data.put', record=record(n, **texts), create_stream=True)


def every_byte(d):
    for top, _, files in os.walk(d.dir):
        for name in files:
            path = os.path.join(top, name)
            if os.path.isfile(path):
                with open(path, 'rb') as f:
                    yield name, f.read()


def is_in_no_file(d, *texts):
    for name, data in every_byte(d):
        for text in texts:
            assert text.encode() not in data, '%s is in %s' % (text, name)


def texts_of(d, *ids):
    return d.c.call('data.get', ids=list(ids))['records']


def nothing_of_what_is_masked_is_stored():
    with daemon() as d:
        a = put(d, 1, text='My card %s, mail %s.' % (CARD, MAIL))
        b = put(d, 2, prompt='Key? ' + KEY, completion='Call +49 30 1234567.')
        c = put(d, 3, messages=[{'role': 'user', 'content': 'Your code is 482913'},
                                {'role': 'assistant', 'content': 'to ' + MAIL}])
        assert a['redacted'] == {'card': 1, 'email': 1} and 'dropped' not in a, a
        assert b['redacted'] == {'key': 1, 'phone': 1}, b
        assert c['redacted'] == {'code': 1, 'email': 1}, c
        got = texts_of(d, a['id'], b['id'], c['id'])
        assert got[0]['text'] == 'My card <CARD>, mail <EMAIL>.', got
        assert (got[1]['prompt'], got[1]['completion']) == ('Key? <KEY>', 'Call <PHONE>.'), got
        assert got[2]['messages'] == [{'role': 'user', 'content': 'Your code is <CODE>'},
                                      {'role': 'assistant', 'content': 'to <EMAIL>'}], got
        is_in_no_file(d, CARD, MAIL, KEY, '1234567', '482913')


def a_retry_is_the_same_record():
    with daemon() as d:
        a = put(d, 1, text='card ' + CARD)
        b = put(d, 1, text='card ' + CARD)
        assert a['new'] and not b['new'] and a['id'] == b['id'], (a, b)


def batches_say_what_was_masked_in_all():
    with daemon() as d:
        v = d.c.call('data.put_many', create_stream=True,
                     records=[record(1, text='a ' + CARD), record(2, text='plain'),
                              record(3, text='b %s %s' % (CARD, MAIL))])
        assert v['redacted'] == {'card': 2, 'email': 1} and v['new'] == 3, v
        v = d.c.call('data.put_many', records=[record(4, text='nothing here')])
        assert 'redacted' not in v and 'dropped' not in v, v


def secret_records_are_never_stored():
    with daemon() as d:
        v = d.c.call('data.put_many', create_stream=True,
                     records=[record(1, text='quokkazebra', secret=True), record(2, text='plain')])
        assert v['ids'][0] == 0 and v['ids'][1] > 0, v
        assert v['dropped'] == 1 and v['new'] == 1, v
        v = put(d, 3, text='quokkazebra', secret=True)
        assert v['id'] == 0 and v['dropped'] == 1 and not v['new'], v
        is_in_no_file(d, 'quokkazebra')
        try:
            put(d, 4, text='x', secret='yes')
        except RpcError as e:
            assert e.name == 'BAD_PARAMS', e
        else:
            raise AssertionError('secret may be no text')


def the_policy_says_what_becomes_of_each_class():
    with daemon() as d:
        d.c.call('policy.set', values={'redact': 'mask,email=off,card=shape,key=drop',
                                       'redact_streams': 'mail=off,mail:card=mask'})
        a = put(d, 1, text='%s %s' % (CARD, MAIL))
        assert texts_of(d, a['id'])[0]['text'] == '0000 0000 0000 0000 ' + MAIL, a
        b = put(d, 2, text='my ' + KEY)
        assert b['id'] == 0 and b['dropped'] == 1, b
        c = d.c.call('data.put', create_stream=True,
                     record=dict(record(3, text='%s %s' % (CARD, KEY)), stream='mail'))
        assert texts_of(d, c['id'])[0]['text'] == '<CARD> ' + KEY, c
        d.c.call('policy.set', values={'redact': None, 'redact_streams': None})
        e = put(d, 5, text=MAIL)
        assert texts_of(d, e['id'])[0]['text'] == '<EMAIL>', e


def a_wrong_policy_is_refused_with_a_sentence():
    wrong = {'redact': ('masks', 'card', 'card=', 'mask,,off', 'cards=off', 'card=hide'),
             'redact_streams': ('off', 'a=no', 'A=off', ':card=off', 'a:cards=off')}
    with daemon() as d:
        for key, values in wrong.items():
            for value in values:
                try:
                    d.c.call('policy.set', values={key: value})
                except RpcError as e:
                    assert key in str(e), e
                else:
                    raise AssertionError('%s=%s was taken' % (key, value))


if __name__ == '__main__':
    main([nothing_of_what_is_masked_is_stored,
          a_retry_is_the_same_record,
          batches_say_what_was_masked_in_all,
          secret_records_are_never_stored,
          the_policy_says_what_becomes_of_each_class,
          a_wrong_policy_is_refused_with_a_sentence])
