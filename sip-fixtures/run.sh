#!/bin/sh
# Runs the SIPp scenarios against a bridge: sip-fixtures/run.sh --help
cd "$(dirname "$0")/.." && exec python3 sip-fixtures/run.py "$@"
