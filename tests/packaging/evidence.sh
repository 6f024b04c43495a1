#!/usr/bin/env bash
# `src/threat-model.md`, `SECURITY.md` and `packaging/compliance.md` are true as far as a machine can tell: every test, file,
# module, constant, default and section that they name exists, their numbers are those of the code, and every row of the threat model names a test and has
# an edit in `mutants.txt` by which that test can be seen to fail (`mutants.py` does so).
#
# Needs python3 alone.
set -euo pipefail
cd "$(dirname "$0")/../.."

tests/packaging/evidence.py
tests/packaging/evidence.py --self-test
