#!/usr/bin/env python3
"""Writes the torture messages, one file each, and verdicts.toml. Python standard library only.

    python3 sip-fixtures/rfc4475/make.py             write everything
    python3 sip-fixtures/rfc4475/make.py --check     write nothing, exit 1 if a file differs
"""

import argparse
import sys
from pathlib import Path

import valid, invalid, meaning  # noqa: E401, F401  (each fills MESSAGES, in the order of the RFC)
from torture import MESSAGES

HERE = Path(__file__).resolve().parent

LEGEND = """\
# What our user agent server does with each message, written by make.py.
#
# file      the datagram, byte for byte
# kind      request or response
# rfc       section of RFC 4475, and its title
# verdict   the first answer that is not 100: a status code; "invite": the INVITE is handed to the call layer; "drop": silence
# why       the reason for the verdict
# rfc_also  other verdicts RFC 4475 names as right
"""


def quoted(text):
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def table(message):
    lines = [
        f"[{message.name}]",
        f'file = "{message.name}.dat"',
        f'kind = "{message.kind}"',
        f'rfc = "{message.rfc}"',
        f"title = {quoted(message.title)}",
        f'verdict = "{message.verdict}"',
        f"why = {quoted(message.why)}",
    ]
    if message.also:
        lines.append("rfc_also = [" + ", ".join(map(quoted, message.also)) + "]")
    return "\n".join(lines) + "\n"


def all_files():
    files = {f"{message.name}.dat": message.data for message in MESSAGES}
    files["verdicts.toml"] = "\n".join([LEGEND, *map(table, MESSAGES)]).encode()
    return files


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    check = parser.parse_args().check
    differing = 0
    for name, data in all_files().items():
        path = HERE / name
        if not check:
            path.write_bytes(data)
        elif not path.is_file() or path.read_bytes() != data:
            print(f"differs: {name}")
            differing += 1
    print(f"{len(MESSAGES)} messages{', ' + str(differing) + ' differ' if check else ''}")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
