#!/usr/bin/env python3
"""Makes the RTP captures of this directory. Python standard library only; the same bytes everywhere.

    python3 pcap/gen.py             write every capture, speech.ulaw, speech.alaw, speech.g722, expect.toml, calls.toml, SHA256SUMS, README tables
    python3 pcap/gen.py --check     write nothing; exit 1 if anything would differ from SHA256SUMS or from the files here
    python3 pcap/gen.py --payload s.ulaw --pt 0 --ptime 20 --out s.pcap     wrap your own raw G.711
"""

import argparse
import sys
from hashlib import sha256
from pathlib import Path

import sound
from calls import CALLS, LEGEND as CALLS_LEGEND
from captures import CAPTURES, g722_codes, speech_codes
from expect import LEGEND, facts, readme_table, toml
from sender import Sender
from wire import pcap

HERE = Path(__file__).resolve().parent
TABLE_BEGIN, CALLS_BEGIN = "<!-- table by gen.py -->\n", "<!-- calls by gen.py -->\n"
TABLE_END = "<!-- end -->"


def all_files():
    """Name and bytes of every file that is made here."""
    files = {"speech.ulaw": speech_codes(0), "speech.alaw": speech_codes(8), "speech.g722": g722_codes()}
    tables = {}
    for name, content, must, requirements, make in CAPTURES:
        made = make()
        made.packets.sort(key=lambda packet: packet.at_us)
        tables[name] = facts(name, content, must, requirements, made)
        files[f"{name}.pcap"] = pcap(made.packets)
    files["expect.toml"] = toml(LEGEND, tables).encode()
    calls = {}
    for name, make in CALLS:
        files[name], holds = make()
        calls[name.split(".")[0]] = {"file": name, **holds}
    files["calls.toml"] = toml(CALLS_LEGEND, calls).encode()
    return files, readme_with({TABLE_BEGIN: readme_table(tables), CALLS_BEGIN: readme_table(calls)})


def readme_with(tables):
    text = (HERE / "README.md").read_text(encoding="utf-8")
    for begin, table in tables.items():
        before, rest = text.split(begin)
        text = before + begin + table + "\n" + TABLE_END + rest.split(TABLE_END, 1)[1]
    return text


def sums(files):
    return "".join(f"{sha256(data).hexdigest()}  {name}\n" for name, data in sorted(files.items()))


def write():
    files, readme = all_files()
    for stale in set(HERE.glob("*.pcap*")) - {HERE / name for name in files}:
        print(f"not made here: {stale.name}")
    for name, data in files.items():
        (HERE / name).write_bytes(data)
    (HERE / "README.md").write_text(readme, encoding="utf-8")
    (HERE / "SHA256SUMS").write_text(sums(files), encoding="utf-8")
    print(f"{len(files)} files, {sum(map(len, files.values()))} bytes")
    return 0


def check():
    """0 when SHA256SUMS, the files on disk and the README table are what this program makes."""
    files, readme = all_files()
    recorded = dict(reversed(line.split("  ")) for line in (HERE / "SHA256SUMS").read_text(encoding="utf-8").splitlines())
    differing = sorted(set(recorded) ^ set(files))
    for name in sorted(set(files) & set(recorded)):
        on_disk = HERE / name
        same = recorded[name] == sha256(files[name]).hexdigest()
        if not same or not on_disk.is_file() or on_disk.read_bytes() != files[name]:
            differing.append(name)
    if (HERE / "README.md").read_text(encoding="utf-8") != readme:
        differing.append("README.md")
    for name in differing:
        print(f"differs: {name}")
    print(f"{len(files)} files checked, {len(differing)} differ")
    return 1 if differing else 0


def wrap_payload(options):
    """Packs a raw G.711 file into RTP; the last packet is filled with silence."""
    codes = Path(options.payload).read_bytes()
    size = options.ptime * 8
    codes += bytes([sound.SILENCE_CODE.get(options.pt, 0xFF)]) * (-len(codes) % size)
    sender = Sender("payload", codes, options.pt, options.ptime)
    sender.talk(len(codes) // 8)
    Path(options.out).write_bytes(pcap(sender.packets))
    print(f"{options.out}: {len(sender.packets)} packets")
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    parser.add_argument("--payload", metavar="FILE", help="raw 8 kHz G.711 codes to wrap")
    parser.add_argument("--pt", type=int, default=0, help="RTP payload type (0 PCMU, 8 PCMA)")
    parser.add_argument("--ptime", type=int, default=20, help="milliseconds of audio in a packet")
    parser.add_argument("--out", metavar="FILE", help="capture to write with --payload")
    options = parser.parse_args()
    if options.payload and not options.out or options.out and not options.payload:
        parser.error("--payload and --out go together")
    if not 0 <= options.pt <= 127 or not 1 <= options.ptime <= 200:
        parser.error("--pt is 0 to 127, --ptime 1 to 200")
    if options.payload:
        return wrap_payload(options)
    return check() if options.check else write()


if __name__ == "__main__":
    sys.exit(main())
