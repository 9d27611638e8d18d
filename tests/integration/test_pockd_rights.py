#!/usr/bin/env python3
# SPDX-FileCopyrightText: the pockd authors
# SPDX-License-Identifier: Apache-2.0
"""What an owner can know and take along: lineage, proofs, archives, the audit log."""
import hashlib
import io
import json
import os
import sqlite3
import sys
import tarfile
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from pockd_rpc import Daemon, main, wait_for  # noqa: E402
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
        path = os.path.join(d.dir, 'mine.gguf')
        ctl(d, 'adapter', 'export', 'default:1', '-o', path, '--manifest')
        with open(os.path.join(d.dir, 'mine.manifest.json')) as f:
            assert json.load(f) == {k: one[k] for k in ('manifest', 'signature')}
        assert m['key'] in ctl(d, 'doctor', status=None).out


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
        assert 'this is no proof' in ctl(None, 'verify', write(d, 'bad.json', '# pockd'), status=1).err
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


def lines_of(path):
    """What is in an archive, by kind: its lines as JSON, and its files."""
    kinds = {}
    with tarfile.open(path) as tar:
        for m in tar.getmembers():
            data = tar.extractfile(m).read()
            kind = m.name.split('/')[0]
            if m.name.endswith('.jsonl'):
                kinds.setdefault(kind, []).extend(json.loads(line) for line in data.splitlines())
            else:
                kinds[m.name] = data
    return kinds


def exported(d, name='all.tar'):
    path = os.path.join(d.dir, name)
    ctl(d, 'export', path)
    return path


def lived(d):
    """Two versions, a sum, a pair, a chat, a scheme and some settings."""
    trained(d)
    trained(d, start=500)
    d.c.call('adapter.merge', adapter='both', parts=[{'adapter': 'default', 'version': 1},
                                                     {'adapter': 'default', 'version': 2}])
    d.c.call('data.put_many', create_stream=True, records=[
        {'uid': b'p' * 16, 'kind': 'pair', 'stream': 'asked', 'time': 5, 'prompt': 'open?', 'completion': 'n\u00f6 \u0000!'},
        {'uid': b'c' * 16, 'kind': 'chat', 'stream': 'asked', 'time': 6, 'messages': [
            {'role': 'user', 'content': 'hi'}, {'role': 'assistant', 'content': 'ho'}]}])
    d.c.call('policy.set', values={'level_start_pct': 55})
    d.c.call('scheme.search', recipe=RECIPE, samples=4, save='evening')


def an_archive_holds_everything_and_says_what():
    with night() as d:
        lived(d)
        path = exported(d)
        a = lines_of(path)
        manifest = json.loads(a['manifest.json'])
        with tarfile.open(path) as tar:
            names = [m.name for m in tar.getmembers()]
            assert names[-2:] == ['manifest.json', 'manifest.sig'] and names[0] == 'README.txt', names
            assert [m['name'] for m in manifest['members']] == names[:-2]
            for m in manifest['members']:
                assert hashlib.sha256(tar.extractfile(m['name']).read()).hexdigest() == m['sha256'], m
        assert manifest['pockd_archive'] == 1 and manifest['key'] == d.c.call('server.info')['key']
        assert len(a['records']) == d.c.call('data.count')['records'] == manifest['counts']['records']
        assert {s['stream'] for s in a['streams']} == {'from-default', 'asked'}
        assert next(r for r in a['records'] if r['kind'] == 'pair')['completion'] == 'n\u00f6 \u0000!'
        assert [(v['adapter'], v['version'], v['gate'], v['state']) for v in a['versions']] == [
            ('both', 1, 'none', 'kept'), ('default', 1, 'passed', 'kept'), ('default', 2, 'passed', 'active')]
        for v in a['versions']:
            assert hashlib.sha256(a['files/%s.gguf' % v['sha256']]).hexdigest() == v['sha256']
            assert json.loads(v['manifest'])['sha256'] == v['sha256']
        assert [j['state'] for j in a['jobs']] == ['done', 'done'] and a['metrics'] and a['audit'], a['jobs']
        assert {'pockd': 'policy', 'key': 'level_start_pct', 'value': '55'} in a['policy'], a['policy']
        assert [s['name'] for s in a['schemes']] == ['evening'], a['schemes']
        assert sum(len(x['records']) for x in a['lineage'] if x['adapter'] == 'both') == \
            d.c.call('adapter.lineage', adapter='both', version=1)['records']
        # Nobody else may read it.
        assert os.stat(path).st_mode & 0o77 == 0


def without_what_differs(a):
    """What must come back as it was: all but the log, the paths and the signature."""
    a = {k: v for k, v in a.items() if k not in ('audit', 'manifest.json', 'manifest.sig')}
    a['models'] = [{k: v for k, v in m.items() if k != 'added'} for m in a['models']]
    return {k: sorted(v, key=str) if isinstance(v, list) else v for k, v in a.items()}


def what_is_exported_comes_back_the_same():
    with night() as d, night() as e:
        lived(d)
        path = exported(d)
        before = [d.c.call('gen.start', adapter='default', version=v, prompt='bee', max_tokens=12, seed=3, temperature=0)['text']
                  for v in (1, 2)]
        score = d.c.call('score', texts=['bee 3 flew'], adapter='both', version=1)['total']['nll']
        said = ctl(e, 'import', path, status=6).err
        assert 'another key' in said and 'signed' in said, said
        key = d.c.call('server.info')['key']
        out = ctl(e, 'import', path, '--dry-run', '--trust', key)
        assert e.c.call('data.count')['records'] == 0, out.err
        r = ctl(e, 'import', path, '--trust', key, '--json').json()
        assert r['signer'] == key and not r['own'] and r['done'] and r['remarks'] == [], r
        assert all(k['refused'] == 0 for k in r['kinds']), r
        one, two = without_what_differs(lines_of(path)), without_what_differs(lines_of(exported(e)))
        for kind in one:
            assert one[kind] == two[kind], (kind, one[kind], two.get(kind))
        assert one.keys() == two.keys()
        # An adapter answers the same, and the settings hold at once.
        after = [e.c.call('gen.start', adapter='default', version=v, prompt='bee', max_tokens=12, seed=3, temperature=0)['text']
                 for v in (1, 2)]
        assert after == before, (before, after)
        assert e.c.call('score', texts=['bee 3 flew'], adapter='both', version=1)['total']['nll'] == score
        assert e.c.call('policy.get', keys=['level_start_pct'])['policy'][0]['value'] == 55
        a = e.c.call('adapter.list')['adapters']
        assert [(x['name'], x.get('active')) for x in a] == [('both', None), ('default', 2)], a
        # Proofs hold against the manifests of there.
        for name in ('default', 'both'):
            x, y = learned(d, name, 1, text='never said'), learned(e, name, 1, text='never said')
            assert x == y and not x[0], (x, y)
        ids = [r['id'] for r in d.c.call('data.list', limit=10)['records']]
        assert [learned(d, 'default', 2, record=i) for i in ids] == [learned(e, 'default', 2, record=i) for i in ids]
        # Once more changes nothing, and new things get new numbers.
        r = ctl(e, 'import', path, '--trust', key, '--json').json()
        again = {k['kind']: k['taken'] for k in r['kinds']}
        assert not any(again[k] for k in ('records', 'adapters', 'jobs', 'versions', 'schemes', 'policy', 'files')), again
        e.c.call('data.put_many', records=records(60, 2000), create_stream=True)
        d2 = e.c.call('train.start', recipe=RECIPE)['job']['id']
        assert d2 == 3 and wait_end(e, d2)['version'] == 3
        # Its own archive needs no word of trust.
        assert 'this pockd' in ctl(e, 'import', exported(e, 'own.tar')).err


def a_used_store_keeps_what_it_has():
    with night() as d, night() as e:
        trained(d)
        path = exported(d)
        key = d.c.call('server.info')['key']
        # There the numbers are taken, one uid has other content, and the adapter has a version of its own.
        other = [dict(r, text='wasp %d' % i) for i, r in enumerate(records(5, 9000, 'wasps'))]
        taken = dict(d.c.call('data.get', ids=[1])['records'][0], text='something else', stream='wasps')
        taken.pop('id')
        e.c.call('data.put_many', records=other + [taken], create_stream=True)
        trained(e, start=100)
        e.c.call('policy.set', values={'level_start_pct': 61})
        r = ctl(e, 'import', path, '--trust', key, '--json').json()
        kinds = {k['kind']: k for k in r['kinds']}
        assert kinds['records']['refused'] == 1 and kinds['versions']['refused'] == 1, r
        assert any('is another one here' in x for x in r['remarks']), r
        assert any('other content' in x for x in r['remarks']), r
        assert {x['text'] for x in e.c.call('data.get', ids=[1, 2, 3, 4, 5])['records']} == {x['text'] for x in other}
        assert e.c.call('policy.get', keys=['level_start_pct'])['policy'][0]['value'] == 61
        a = e.c.call('adapter.show', adapter='default')['adapter']
        assert a['active'] == 1, a
        # What its version learned is what it was: nothing of there.
        line = e.c.call('adapter.lineage', adapter='default', version=1)
        assert line['records'] == json.loads(line['manifest'])['records']['count'], line
        assert not learned(e, 'default', 1, text='never said')[0]
        # What comes of a version that was deleted is not lost with it.
        trained(d, start=500)
        d.c.call('adapter.delete', adapter='default', version=1)
        path = exported(d)
        with night() as f:
            r = ctl(f, 'import', path, '--trust', key, '--json').json()
            assert all(k['refused'] == 0 for k in r['kinds']), r
            versions = [lines_of(x)['versions'] for x in (path, exported(f))]
            assert versions[0] == versions[1] and versions[0][0]['state'] == 'retired', versions
            assert f.c.call('adapter.show', adapter='default')['adapter']['active'] == 2
        # Without the base model its adapters wait, and the records come.
        with Daemon() as f:
            r = ctl(f, 'import', path, '--trust', key, '--json').json()
            kinds = {k['kind']: k for k in r['kinds']}
            assert kinds['records']['taken'] == 120 and kinds['versions']['refused'] == 2, r
            assert any('pockctl model add' in x for x in r['remarks']), r


def hostile_archives_get_a_sentence():
    with night() as d:
        trained(d)
        path = exported(d)
        with open(path, 'rb') as f:
            good = f.read()
        with tarfile.open(path) as tar:
            members = [(m.name, tar.extractfile(m).read()) for m in tar.getmembers()]
        before = d.c.call('data.count')['records']

        def refused_with(words, data):
            said = ctl(d, 'import', write(d, 'bad.tar', data), status=2).err
            assert words in said and said.count('\n') == 1, (words, said)

        def packed(list, **types):
            out = io.BytesIO()
            with tarfile.open(fileobj=out, mode='w', format=tarfile.USTAR_FORMAT) as tar:
                for name, data in list:
                    m = tarfile.TarInfo(name)
                    m.size = len(data)
                    if name in types:
                        m.type, m.size, m.linkname, data = types[name], 0, '/etc/passwd', b''
                    tar.addfile(m, io.BytesIO(data))
            return out.getvalue()
        assert ctl(d, 'import', write(d, 'same.tar', packed(members)))  # another program's tar
        refused_with('no tar archive', b'x' * 2048)
        refused_with('ends in the middle', b'')
        for cut in (100, 512, len(good) // 2, len(good) - 1024 - 512):
            refused_with('the archive', good[:cut])
        for name in ('../../etc/cron.d/x', '/etc/passwd', 'records/../x.jsonl'):
            refused_with('name is not allowed', packed([(name, b'x')] + members))
        refused_with('no plain file', packed([('records/link.jsonl', b'')] + members, **{'records/link.jsonl': tarfile.SYMTYPE}))
        refused_with('nothing that this pockd knows', packed([('other/x', b'x')] + members))
        refused_with('other members', packed([members[1]] + members))
        refused_with('other members', packed(members[1:]))
        refused_with('no signed manifest', packed(members[:-2]))
        refused_with('after the manifest', packed(members[:-2] + [members[-2], ('records/9.jsonl', b'{}'), members[-1]]))
        refused_with('after the signature', packed(members + [('records/9.jsonl', b'{}')]))
        i = next(i for i, m in enumerate(members) if m[0].startswith('records/'))
        changed = list(members)
        changed[i] = (members[i][0], members[i][1].replace(b'bee', b'wax', 1))
        refused_with('not as it was written', packed(changed))
        # With its hash made to fit it is not what was signed.
        m = json.loads(members[-2][1])
        for x in m['members']:
            if x['name'] == members[i][0]:
                x['sha256'] = hashlib.sha256(changed[i][1]).hexdigest()
        refused_with('not as it was signed', packed(changed[:-2] + [('manifest.json', json.dumps(m).encode()), members[-1]]))
        twice = dict(m, members=[m['members'][0]] * 2 + m['members'][2:])
        refused_with('listed twice', packed(members[:-2] + [('manifest.json', json.dumps(twice).encode()), members[-1]]))
        later = json.dumps(dict(m, pockd_archive=2)).encode()
        said = ctl(d, 'import', write(d, 'bad.tar', packed(members[:-2] + [('manifest.json', later), members[-1]])), status=9).err
        assert 'install a newer one' in said, said
        # A size that lies.
        lie = bytearray(good)
        lie[124:136] = b'%011o\0' % (len(good) * 2)
        lie[148:156] = b'%06o\0 ' % (sum(lie[:148]) + 8 * 32 + sum(lie[156:512]))
        refused_with('larger than the file', bytes(lie))
        bomb = packed([('records/1.jsonl', b'\n' * (17 << 20))] + members)
        refused_with('larger than such may be', bomb)
        assert d.c.call('data.count')['records'] == before


if __name__ == '__main__':
    main([
        a_version_says_what_it_learned,
        a_version_proves_what_it_did_not_learn,
        every_change_to_a_proof_shows,
        what_was_imported_proves_nothing,
        a_sum_learned_what_its_parts_did,
        after_an_erase_nobody_can_try_a_guess,
        the_audit_log_tells_who_did_what,
        an_archive_holds_everything_and_says_what,
        what_is_exported_comes_back_the_same,
        a_used_store_keeps_what_it_has,
        hostile_archives_get_a_sentence,
    ])
