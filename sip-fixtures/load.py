"""Watches a bridge under load: the RTP it sends, its records of the calls, and what it holds before and after.

Settings, from the row's "load": a capture of capture_s seconds begins capture_after_s seconds after the first call; settle_s
seconds after the last call the bridge holds nothing that it did not hold when it started. Resident memory is compared with
that after a first wave of as many calls (warm_up), within rss_growth_mib: the allocator keeps what a wave needed for the next.
"""

import json
import os
import re
import signal
import statistics
import struct
import subprocess
import threading
import time
import urllib.request
from collections import defaultdict

PER_SECOND = (49.0, 51.0)
GAUGES = ("trunkstream_calls_active", "sip_dialogs", "sip_transactions", "rtp_port_pairs_in_use", "stream_active")


class Load:
    """From before the first call until all is quiet again."""

    def __init__(self, pid, admin, rtp, folder, settings):
        self.pid, self.admin, self.rtp, self.folder, self.settings = pid, admin, rtp, folder, settings
        self.fresh, self.before, self.peak = held(pid, admin), {}, {}
        self.records, self.skip = None, 0
        self.dumpcap, self.timer = None, threading.Timer(settings["capture_after_s"], self.capture)
        self.timer.daemon = True

    def begin(self, records):
        """The first wave is over, the calls that count begin."""
        time.sleep(1)
        self.before = held(self.pid, self.admin)
        self.records, self.skip = records, len(read_records(records))
        self.timer.start()

    def capture(self):
        """Records the head of each RTP packet from the bridge for some seconds."""
        self.peak = held(self.pid, self.admin)
        wanted = f"udp and src portrange {self.rtp[0]}-{self.rtp[1]}"
        command = ["dumpcap", "-q", "-P", "-i", "lo", "-s", "60", "-B", "64", "-f", wanted, "-w", str(self.folder / "load.pcap")]
        with open(self.folder / "dumpcap.log", "wb") as log:
            self.dumpcap = subprocess.Popen([*command, "-a", f"duration:{self.settings['capture_s']}"], stdout=log, stderr=log)
            self.dumpcap.wait()

    def end(self):
        """Ends what still runs."""
        self.timer.cancel()
        if self.dumpcap and self.dumpcap.poll() is None:
            self.dumpcap.send_signal(signal.SIGKILL)

    def verdict(self, calls):
        """What is wrong, as texts, and the figures in one line. Takes settle_s seconds."""
        self.timer.join(5)
        time.sleep(self.settings["settle_s"])
        after = held(self.pid, self.admin)
        allowed = self.settings["rss_growth_mib"]
        wrong = [f"{what}: {self.fresh[what]:g} before, {after[what]:g} after" for what in after if what != "rss_mib" and after[what] != self.fresh[what]]
        if after["rss_mib"] > self.before["rss_mib"] + allowed:
            wrong.append(f"resident memory grew by {after['rss_mib'] - self.before['rss_mib']:.1f} MiB, {allowed} are allowed")
        if self.peak.get("trunkstream_calls_active") != calls:
            wrong.append(f"{self.peak.get('trunkstream_calls_active', 0):g} of {calls} calls were up when the capture began")
        faults, flows = judge_flows(self.folder, calls)
        wrong += faults
        faults, told = judge_records(read_records(self.records)[self.skip :], calls)
        memory = " ".join(f"{state.get('rss_mib', 0):.1f}" for state in (self.fresh, self.before, self.peak, after))
        files = " ".join(str(state.get("files", 0)) for state in (self.fresh, self.peak, after))
        return wrong + faults, f"{flows}; {told}; {memory} MiB fresh, after the first wave, during, after; {files} open files before, during, after"


def held(pid, admin):
    """What the bridge holds: open files, UDP sockets, resident memory, and its own gauges."""
    files = os.listdir(f"/proc/{pid}/fd")
    links = []
    for file in files:
        try:
            links.append(os.readlink(f"/proc/{pid}/fd/{file}"))
        except FileNotFoundError:       # closed meanwhile
            pass
    sockets = {link[8:-1] for link in links if link.startswith("socket:[")}
    rows = [line.split() for table in ("udp", "udp6") for line in open(f"/proc/net/{table}", encoding="ascii").readlines()[1:]]
    resident = re.search(r"VmRSS:\s+(\d+) kB", open(f"/proc/{pid}/status", encoding="ascii").read())
    with urllib.request.urlopen(f"http://127.0.0.1:{admin}/metrics", timeout=5) as answer:
        page = answer.read().decode()
    told = {gauge: sum(float(value) for value in re.findall(rf"^{gauge}(?:{{[^}}]*}})? (\S+)$", page, re.MULTILINE)) for gauge in GAUGES}
    return {"files": len(files), "udp_sockets": sum(row[9] in sockets for row in rows), "rss_mib": int(resident.group(1)) / 1024, **told}


def datagrams(path):
    """(seconds, source, target, UDP payload) of a classic capture of an Ethernet-like loopback with IPv4."""
    with open(path, "rb") as file:
        head = file.read(24)
        if len(head) < 24:
            return
        order = "<" if head[:4] in (b"\xd4\xc3\xb2\xa1", b"\x4d\x3c\xb2\xa1") else ">"
        tick = 1e-9 if struct.unpack(order + "I", head[:4])[0] == 0xA1B23C4D else 1e-6
        while len(record := file.read(16)) == 16:
            seconds, fraction, length, _ = struct.unpack(order + "IIII", record)
            frame = file.read(length)
            if len(frame) < 14 + 20 + 8 + 12 or frame[12:14] != b"\x08\x00" or frame[23] != 17:
                continue
            at = 14 + 4 * (frame[14] & 15)
            source, target = struct.unpack("!HH", frame[at : at + 4])
            yield seconds + fraction * tick, (frame[26:30], source), (frame[30:34], target), frame[at + 8 :]


def judge_flows(folder, calls):
    """The capture: as many flows as calls, each complete, even, and of one sender."""
    log = (folder / "dumpcap.log").read_text(errors="replace") if (folder / "dumpcap.log").exists() else ""
    missed = re.search(r"received/dropped on interface .*?: (\d+)/(\d+)", log)
    if not missed:
        return ["no capture was made"], "no capture"
    if int(missed.group(2)):
        return [f"the capture itself missed {missed.group(2)} packets: the machine is too busy to judge"], "no capture"
    flows = defaultdict(list)
    for when, source, target, data in datagrams(folder / "load.pcap"):
        if data[0] >> 6 == 2 and not 192 <= data[1] <= 223:
            flows[source, target].append((when, *struct.unpack("!HII", data[2:12])))
    wrong = [] if len(flows) == calls else [f"{len(flows)} RTP flows from the bridge instead of {calls}"]
    rates, gaps, jumps, senders, pauses = [], 0, 0, 0, []
    for packets in flows.values():
        pairs = list(zip(packets, packets[1:]))
        rates.append(len(pairs) / max(packets[-1][0] - packets[0][0], 1e-3))
        gaps += sum((b[1] - a[1]) & 0xFFFF != 1 for a, b in pairs)
        jumps += sum((b[2] - a[2]) & 0xFFFFFFFF != 160 for a, b in pairs)
        senders += len({packet[3] for packet in packets}) != 1
        pauses += [b[0] - a[0] for a, b in pairs]
    outside = [rate for rate in rates if not PER_SECOND[0] <= rate <= PER_SECOND[1]]
    if outside:
        wrong.append(f"{len(outside)} flows are not at 50 ± 1 packets per second but at {min(outside):.2f} to {max(outside):.2f}")
    wrong += [f"{count} {what}" for count, what in ((gaps, "sequence gaps"), (jumps, "timestamp jumps"), (senders, "flows with several SSRCs")) if count]
    if not pauses:
        return wrong, "no RTP"
    error = statistics.quantiles((abs(pause - 0.02) * 1000 for pause in pauses), n=1000)
    figures = f"{min(rates):.2f} to {max(rates):.2f} packets/s back in {len(flows)} flows, {len(pauses) + len(flows)} packets"
    return wrong, f"{figures}, interval error p50/p99/p99.9 {error[499]:.1f}/{error[989]:.1f}/{error[998]:.1f} ms, longest pause {max(pauses) * 1000:.0f} ms"


def read_records(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def judge_records(rows, calls):
    """The bridge's own account: each call ended by the caller, nothing lost, 50 packets a second sent, no standstill."""
    wrong = [] if len(rows) == calls else [f"{len(rows)} call records instead of {calls}"]
    ends = {row["end"]["why"] for row in rows} - {"caller_hangup"}
    if ends:
        wrong.append(f"calls ended with {', '.join(sorted(ends))}")
    if not rows:
        return wrong, "no record"
    totals = {what: sum(row["media"][what] for row in rows) for what in ("packets_received", "packets_sent", "lost", "late", "duplicate", "discarded")}
    wrong += [f"{totals[what]} packets {what}" for what in ("lost", "duplicate", "discarded") if totals[what]]
    rates = [row["media"]["packets_sent"] * 1000 / max(row["talk_ms"], 1) for row in rows]
    if min(rates) < PER_SECOND[0] or max(rates) > PER_SECOND[1]:
        wrong.append(f"by the records {min(rates):.2f} to {max(rates):.2f} packets were sent per second of talk")
    stalled = sum(row["stalled_ms"] for row in rows)
    if stalled:
        wrong.append(f"the bridge stood still: {stalled} ms over all calls")
    late = max(row["send_late_max_ms"] for row in rows)
    told = f"records: {min(rates):.2f} to {max(rates):.2f} packets/s sent, {totals['packets_received']} received, {totals['lost']} lost, {totals['late']} late"
    return wrong, f"{told}, stalled {stalled} ms, latest send {late:.0f} ms"
