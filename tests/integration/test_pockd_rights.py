#!/usr/bin/env python3
# SPDX-FileCopyrightText: the pockd authors
# SPDX-License-Identifier: Apache-2.0
"""What an owner can know and take along: lineage, proofs, archives, the audit log."""
import hashlib
import json
import os
import sqlite3
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from pockd_rpc import RpcError, main, wait_for  # noqa: E402
from test_pockctl import ctl, write  # noqa: E402
from test_pockd_adapters import refused, trained  # noqa: E402
from test_pockd_train import RECIPE, night, records, wait_end  # noqa: E402


def learned(d, name, version, **claim):
    r = d.c.call('adapter.prove', adapter=name, version=version, **claim)
    return r['learned'], r['proof']


def a_version_says_what_it_learned():
    with night() as d:
        trained(d)
        trained(d)
        one = d.c.call('adapter.lineage', adapter='default', version=1)
        assert one['complete'] and one['records'] > 0 and len(one['root']) == 64, one
        months = one['months']
        assert [(m['app'], m['stream'], m['month']) for m in months] == [('host', 'from-default', '2023-11')], months
        m = json.loads(one['manifest'])
        v = d.c.call('adapter.show', adapter='default', version=1)['adapter']['versions'][0]
        model = d.c.call('model.list')['models'][0]
        assert m['sha256'] == v['sha256'] and m['base']['sha256'] == model['sha256'], m
        assert m['records'] == {'complete': True, 'count': v['records'], 'leaves': one['leaves'], 'root': one['root']}
        assert 'seed=' in m['recipe'] and m['evaluation']['gate'] == v['gate'], m
        assert m['key'] == d.c.call('server.info')['key'] and 'parent' not in m, m
        r = ctl(d, 'adapter', 'show', 'default:1', '--lineage').out
        assert one['root'] in r and '* default:1  trained' in r and '2023-11' in r, r
        assert ctl(d, 'adapter', 'show', 'default:1', '--lineage', '--quiet').out == one['root'] + '\n'
        assert ctl(d, 'adapter', 'show', 'default:1', '--lineage', '--json').json()['leaves'] == one['leaves']


def a_version_proves_what_it_did_not_learn():
    with night() as d:
        trained(d)
        ids = [r['id'] for r in d.c.call('data.list', limit=100)['records']]
        trained(d, start=1000)
        texts = {r['text']: r['id'] for r in d.c.call('data.get', ids=ids[:60])['records']}
        old = d.c.call('adapter.show', adapter='default', version=1)['adapter']['versions'][0]
        new_id = max(r['id'] for r in d.c.call('data.list', limit=1000)['records'])
        # The first version learned some of its records (the rest is held out), and none of the second's.
        proofs = {id: learned(d, 'default', 1, record=id) for id in ids}
        assert sum(p[0] for p in proofs.values()) == old['records'], old
        assert not learned(d, 'default', 1, record=new_id)[0]
        for text, id in list(texts.items())[:8]:
            assert learned(d, 'default', 1, text=text)[0] == proofs[id][0]
        # The second comes of the first: it learned what the first did.
        for id in ids[:8]:
            if proofs[id][0]:
                assert learned(d, 'default', 2, record=id)[0], id
        used = d.c.call('data.used_by', id=next(i for i in ids if proofs[i][0]))['used_by']
        assert [(u['version'], u['active']) for u in used][:1] == [(1, False)] and len(used) == 2, used
        path = os.path.join(d.dir, 'proof.json')
        ctl(d, 'adapter', 'prove', 'default:1', '--without', str(new_id), '-o', path)
        r = ctl(None, 'verify', path)
        assert 'did not learn the record of key' in r.out and old['sha256'] in r.out, r.out
        key = d.c.call('server.info')['key']
        assert ctl(None, 'verify', path, '--trust', key, '--json').json()['learned'] is False
        said = ctl(None, 'verify', path, '--trust', '0' * 64, status=1).err
        assert 'another key' in said, said
        # A proof that it did is one, too, and the status says so.
        inside = next(i for i in ids if proofs[i][0])
        ctl(d, 'adapter', 'prove', 'default:1', '--without', str(inside), '-o', path, status=10)
        assert 'learned the record' in ctl(None, 'verify', path).out
        text = write(d, 'text', 'nobody ever said this\n')
        ctl(d, 'adapter', 'prove', 'default:1', '--text', text, '-o', path)
        assert 'nobody' not in open(path).read()
        ctl(None, 'verify', path, '--text', text)
        said = ctl(None, 'verify', path, '--text', write(d, 'other', 'somebody said this'), status=1).err
        assert 'of another text' in said, said
        out = ctl(d, 'data', 'show', str(inside), '--used-by').out
        assert out.splitlines()[0] == 'default:1', out


def every_change_to_a_proof_shows():
    with night() as d:
        trained(d)
        proof = json.loads(learned(d, 'default', 1, text='never said')[1])
        manifest = json.loads(proof['manifest'])

        def refused_with(words, **changes):
            path = write(d, 'bad.json', json.dumps(dict(proof, **changes)))
            said = ctl(None, 'verify', path, status=1).err
            assert words in said, (words, said)
        assert ctl(None, 'verify', write(d, 'good.json', json.dumps(proof)))
        refused_with('not as it was signed', manifest=proof['manifest'].replace('"version":1', '"version":2'))
        refused_with('nobody knows', manifest=json.dumps(dict(manifest, records=dict(manifest['records'], complete=False))))
        refused_with('does not lead', claim='not_learned', key='00' * 32)
        refused_with('does not lead', path=proof['path'][:-1])
        refused_with('does not lead', path=proof['path'] + [''])
        refused_with('salt', claim='learned')
        refused_with('does not lead', claim='learned', salt='00' * 16)
        refused_with('no proof', claim='maybe')
        refused_with('no proof', path=[1])
        refused_with('no proof', signature='00')


def what_was_imported_proves_nothing():
    with night() as d:
        trained(d)
        with tempfile.TemporaryFile() as f:
            d.c.call('adapter.export', fd=f.fileno(), adapter='default', format='gguf')
            f.seek(0)
            d.c.call('adapter.import', fd=f.fileno(), adapter='mine')
        line = d.c.call('adapter.lineage', adapter='mine', version=1)
        assert not line['complete'] and 'root' not in line and json.loads(line['manifest'])['origin'] == 'imported', line
        said = refused(d, 'UNSUPPORTED', 'adapter.prove', adapter='mine', version=1, text='x')
        assert 'imported' in said, said
        # Nor does a sum with it.
        d.c.call('adapter.merge', adapter='both', parts=[{'adapter': 'default', 'version': 1, 'weight': 1},
                                                         {'adapter': 'mine', 'version': 1, 'weight': 2}])
        refused(d, 'UNSUPPORTED', 'adapter.prove', adapter='both', version=1, text='x')
        for bad in ({}, {'text': 'x', 'record': 1}):
            refused(d, 'BAD_PARAMS', 'adapter.prove', adapter='default', **bad)
        refused(d, 'NOT_FOUND', 'adapter.prove', adapter='default', record=9999)
        refused(d, 'NOT_FOUND', 'data.used_by', id=9999)


def a_sum_learned_what_its_parts_did():
    with night() as d:
        trained(d, 'a')
        trained(d, 'b', 1000)
        d.c.call('adapter.merge', adapter='both', parts=[{'adapter': 'a'}, {'adapter': 'b'}])
        line = d.c.call('adapter.lineage', adapter='both', version=1)
        m = json.loads(line['manifest'])
        assert line['complete'] and m['origin'] == 'merged', line
        assert [p['adapter'] for p in m['merged_from']] == ['a', 'b'], m
        assert {x['stream'] for x in line['months']} == {'from-a', 'from-b'}, line
        n = 0
        for r in d.c.call('data.list', limit=200)['records']:
            in_parts = learned(d, 'a', 1, record=r['id'])[0] or learned(d, 'b', 1, record=r['id'])[0]
            assert learned(d, 'both', 1, record=r['id'])[0] == in_parts, r
            n += in_parts
        assert n == line['records'], (n, line)
        r = ctl(d, 'adapter', 'show', 'both:1', '--lineage').out
        assert 'merged from  a:1 x 0.5' in r, r


def after_an_erase_nobody_can_try_a_guess():
    with night() as d:
        trained(d)
        rows = d.c.call('data.list', limit=100)['records']
        inside = next(r for r in rows if learned(d, 'default', 1, record=r['id'])[0])
        text = d.c.call('data.get', ids=[inside['id']])['records'][0]['text']
        _, proof = learned(d, 'default', 1, record=inside['id'])
        salt = bytes.fromhex(json.loads(proof)['salt'])
        state = os.path.join(d.dir, 'd')

        def on_disk(what):
            found = []
            for dir, _, names in os.walk(state):
                for name in names:
                    if os.path.isfile(os.path.join(dir, name)):
                        with open(os.path.join(dir, name), 'rb') as f:
                            if what in f.read():
                                found.append(name)
            return found
        assert on_disk(salt)
        d.c.call('data.erase', ids=[inside['id']])
        # Without the salt no hash that is left can be compared with one of the guess.
        assert not on_disk(salt)
        key = hashlib.sha256(b'pockd text\0' + text.encode()).digest()
        assert not on_disk(key) and not on_disk(key.hex().encode())
        said = refused(d, 'ERASED', 'adapter.prove', adapter='default', version=1, text=text)
        assert 'erased' in said, said
        # The version that is trained without it proves that it is.
        job = d.c.call('train.start', recipe=RECIPE)['job']['id']
        v = wait_end(d, job)['version']
        assert not learned(d, 'default', v, text=text)[0]


def the_audit_log_tells_who_did_what():
    with night() as d:
        trained(d)
        first = d.c.call('data.list', limit=10)['records']
        d.c.call('data.get', ids=[r['id'] for r in first])
        d.c.call('data.get', ids=[first[0]['id']])
        d.c.call('gen.start', prompt='bee', max_tokens=1, seed=1)
        d.c.call('data.erase', ids=[first[0]['id']], dry_run=True)
        other = d.client()
        other.call('data.erase', ids=[first[0]['id']])
        with tempfile.TemporaryFile() as f:
            d.c.call('data.export', fd=f.fileno())
        refused(d, 'NOT_FOUND', 'data.get', ids=[9999])

        def entries():
            return {(e['app'], e['action'], e['text']): e for e in d.c.call('audit.list')['entries']}
        e = wait_for('reads to be written', 20, lambda: (lambda x: x if ('host', 'data.export', '') in x else None)(entries()))
        put = e['host', 'data.put', '']
        assert put['count'] == 60 and put['pid'] == os.getpid() and put['uid'] == os.getuid(), put
        assert e['host', 'data.list', '']['count'] == 10 and e['host', 'data.get', '']['count'] == 11, e
        assert e['host', 'data.erase', '']['count'] == 1 and e['host', 'gen.start', '']['count'] == 1, e
        v = e['pockd', 'train.version', 'default:1']
        assert v['pid'] == 0 and 0 < v['count'] < 60 and ('pockd', 'adapter.activate', 'default:1') in e, e
        assert all('bee' not in str(x) for x in e.values()), e
        # The commands say the same, and the chain holds through a stop.
        out = ctl(d, 'audit', '--limit', '20').out
        assert 'train.version' in out and 'data.erase' in out, out
        d.stop()
        d.start()
        head = ctl(d, 'audit', '--verify').out.strip()
        assert len(head) == 64 and ctl(d, 'audit', '--verify', '--head', head).status == 0
        said = ctl(d, 'audit', '--verify', '--head', '0' * 63 + '1', status=12).err
        assert 'does not go on' in said, said
        ctl(d, 'audit', '--head', head, status=2)
        after = d.client().call('audit.list')['entries']
        assert all('id' in x for x in after if x['action'] != 'audit'), after
        # Somebody who opens the file removes the erasing.
        d.stop()
        db = sqlite3.connect(os.path.join(d.dir, 'd', 'data.db'))
        gone = db.execute("DELETE FROM audit WHERE action = 'data.erase' RETURNING id").fetchall()
        db.commit()
        db.close()
        d.start()
        said = ctl(d, 'audit', '--verify', status=12).err
        assert 'entries %d to %d are missing' % (gone[0][0], gone[0][0]) in said, said


if __name__ == '__main__':
    main([
        a_version_says_what_it_learned,
        a_version_proves_what_it_did_not_learn,
        every_change_to_a_proof_shows,
        what_was_imported_proves_nothing,
        a_sum_learned_what_its_parts_did,
        after_an_erase_nobody_can_try_a_guess,
        the_audit_log_tells_who_did_what,
    ])
