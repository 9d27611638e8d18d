#!/usr/bin/env python3
# SPDX-FileCopyrightText: the pockd authors
# SPDX-License-Identifier: Apache-2.0
"""Adds up meson's JUnit files into the closing line "N passed, N failed".

usage: count.py FAILED FILE...   FAILED is 1 when a step outside of them failed
"""
import sys
import xml.etree.ElementTree as ET

passed = failed = skipped = 0
for name in sys.argv[2:]:
    for case in ET.parse(name).getroot().iter('testcase'):
        kinds = {child.tag for child in case}
        if kinds & {'failure', 'error'}:
            failed += 1
        elif 'skipped' in kinds:
            skipped += 1
        else:
            passed += 1
if sys.argv[1] != '0' and failed == 0:
    failed = 1
print(f'{passed} passed, {failed} failed' +
      (f', {skipped} skipped' if skipped else ''))
sys.exit(failed > 0 or passed == 0)
