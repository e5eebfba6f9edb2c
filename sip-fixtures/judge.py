#!/usr/bin/env python3
"""Judges a loopback capture of one call: what the bridge sent, and when.

    judge.py CAPTURE CHECK…        prints what is wrong; exit code 1 if something is

tshark reads the capture. Which side is which comes from the SIP in it: the first INVITE is the PBX's, its 2xx the bridge's.
A check is a word with settings, in one argument ("rtp_back pps=50 pt=0"):

    rtp_back      RTP to the PBX: pps=50 (±1, over at least 1 s), one SSRC, nothing lost, timestamps in step (clock=8000), pt=0,
                  bytes=160
    rtp_after     the same after the answer to CSeq cseq=N
    echo_delay    what the PBX said comes back within max=500 ms, unchanged
    echo_heard    sound comes back, changed by a codec that has a memory: at least least=60 packets that are all different
    copies_200    copies of the 200 to the INVITE, intervals=0.5,1,2 seconds apart (±15 %)
    copies        copies of the bridge's response code=183 to the INVITE, intervals=0.5,1,2 seconds apart (±15 %)
    early_rtp     at least=80 packets of RTP from the bridge before the 200 to the INVITE
    one_description  every session description of the bridge is the same, o= line too
    bye_after     the bridge's BYE comes seconds=60 (±1.5) after the 200 to the INVITE
    after_491     the bridge's INVITE comes again at most=2 seconds after the PBX's 491
    hold          no RTP from the bridge between the answers to CSeq reinvite=2 and resume=3 (method=INVITE or UPDATE),
                  then RTP again within 200 ms, sequence without gap, timestamp advanced, marker set
    port_change   RTP goes to the new port within 60 ms of the answer to CSeq cseq=2, and no more to the old one
    pt_change     payload type before=0 becomes after=8 with the answer to CSeq cseq=2; same SSRC, no gap
    rtcp          RTCP reaches the RTP port (mux=1) or the port of a=rtcp (port=1)
    latch         RTP goes where the PBX's RTP really comes from, not where its SDP says
    silent_to     no packet at all to ip=…
"""

import re
import struct
import subprocess
import sys
from collections import namedtuple

Datagram = namedtuple("Datagram", "time source target payload")
Rtp = namedtuple("Rtp", "time source target pt marker sequence timestamp ssrc payload")
Sip = namedtuple("Sip", "time source target first headers body")
FIELDS = ("frame.time_epoch", "ip.src", "ipv6.src", "udp.srcport", "ip.dst", "ipv6.dst", "udp.dstport", "udp.payload")


def read(capture):
    """Every UDP datagram of the capture."""
    command = ["tshark", "-n", "-r", capture, "-Y", "udp && !icmp && !icmpv6", "-T", "fields", "-E", "separator=/t"]
    for field in FIELDS:
        command += ["-e", field]
    listing = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120).stdout
    datagrams = []
    for line in listing.splitlines():
        time, v4_from, v6_from, port_from, v4_to, v6_to, port_to, payload = (line.split("\t") + [""] * 8)[:8]
        if port_from.isdecimal() and port_to.isdecimal():
            source, target = (v4_from or v6_from, int(port_from)), (v4_to or v6_to, int(port_to))
            datagrams.append(Datagram(float(time), source, target, bytes.fromhex(payload.replace(":", ""))))
    return datagrams


def sip(datagram):
    if not re.match(rb"SIP/2\.0 |[A-Z]+ \S+ SIP/2\.0\r\n", datagram.payload):
        return None
    head, _, body = datagram.payload.decode("latin-1").partition("\r\n\r\n")
    first, *lines = head.split("\r\n")
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers.setdefault(name.strip().lower(), value.strip())
    return Sip(datagram.time, datagram.source, datagram.target, first, headers, body)


def rtp(datagram):
    data = datagram.payload
    if len(data) < 12 or data[0] >> 6 != 2 or 192 <= data[1] <= 223:
        return None
    sequence, timestamp, ssrc = struct.unpack("!HII", data[2:12])
    return Rtp(datagram.time, datagram.source, datagram.target, data[1] & 0x7F, data[1] >> 7, sequence, timestamp, ssrc, data[12:])


def media(body):
    """(address, port, RTCP port or None) of the audio line of a session description."""
    port = re.search(r"^m=audio (\d+)", body, re.MULTILINE)
    address = re.search(r"^c=IN IP[46] ([^\s/]+)", body, re.MULTILINE)
    rtcp = re.search(r"^a=rtcp:(\d+)", body, re.MULTILINE)
    return (address.group(1), int(port.group(1)), int(rtcp.group(1)) if rtcp else None) if port and address else None


class Capture:
    """One call: its SIP, and the RTP each way."""

    def __init__(self, path):
        self.datagrams = read(path)
        self.sip = [message for message in map(sip, self.datagrams) if message]
        self.invite = next((m for m in self.sip if m.first.startswith("INVITE")), None)
        if not self.invite:
            raise SystemExit("no INVITE in the capture")
        self.bridge_sip = self.invite.target
        self.answers = [m for m in self.sip if m.source == self.bridge_sip and m.first.startswith("SIP/2.0 200")]
        ours = next((media(m.body) for m in self.answers if media(m.body)), None)
        self.bridge_port = ours[1] if ours else 0
        offers = [media(m.body) for m in self.sip if m.source != self.bridge_sip and media(m.body)]
        self.pbx = offers[0] if offers else None
        packets = [packet for packet in map(rtp, self.datagrams) if packet]
        self.back = [p for p in packets if p.source[1] == self.bridge_port]
        self.sent = [p for p in packets if p.target[1] == self.bridge_port and p.source[0] != "127.0.0.66"]

    def answered(self, number, method="INVITE"):
        """The first 200 to this CSeq."""
        found = next((m for m in self.answers if re.fullmatch(rf"{number}\s+{method}", m.headers.get("cseq", ""))), None)
        if not found:
            raise LookupError(f"no 200 to CSeq {number} {method} in the capture")
        return found


def in_step(packets, pps=50.0, pt=None, size=None, clock=8000):
    """What is wrong with a run of RTP packets."""
    if len(packets) < pps * 0.8:
        yield f"only {len(packets)} RTP packets from the bridge"
        return
    seconds = packets[-1].time - packets[0].time
    rate = (len(packets) - 1) / seconds if seconds else 0
    if abs(rate - pps) > max(1.0, pps * 0.02):
        yield f"{rate:.1f} packets per second instead of {pps:g}"
    if len({p.ssrc for p in packets}) != 1:
        yield f"{len({p.ssrc for p in packets})} SSRCs"
    audio = [p for p in packets if p.pt not in (13, 96, 101)]
    gaps = [(a.sequence, b.sequence) for a, b in zip(packets, packets[1:]) if (b.sequence - a.sequence) & 0xFFFF != 1]
    if gaps:
        yield f"sequence not continuous: {gaps[:3]}"
    step = round(clock / pps)
    jumps = [b.timestamp - a.timestamp for a, b in zip(audio, audio[1:]) if (b.timestamp - a.timestamp) & 0xFFFFFFFF != step]
    if jumps:
        yield f"timestamps not in steps of {step}: {jumps[:3]}"
    if pt is not None and {p.pt for p in packets} != {pt}:
        yield f"payload types {sorted({p.pt for p in packets})} instead of {pt}"
    if size is not None and {len(p.payload) for p in packets} != {size}:
        yield f"payload sizes {sorted({len(p.payload) for p in packets})} instead of {size}"
    worst = max(b.time - a.time for a, b in zip(packets, packets[1:]))
    if worst > 1 / pps + 0.06:
        yield f"{worst * 1000:.0f} ms between two packets"


def rtp_back(call, pps="50", pt=None, bytes=None, clock="8000"):
    yield from in_step(call.back, float(pps), pt and int(pt), bytes and int(bytes), int(clock))


def rtp_after(call, cseq, pps="50"):
    since = call.answered(cseq).time
    yield from in_step([p for p in call.back if p.time > since + 0.005], float(pps))


def echo_delay(call, max="500"):
    sent, back = b"".join(p.payload for p in call.sent), b"".join(p.payload for p in call.back)
    delays = []
    for index in range(25, len(call.sent) - 5):
        piece = call.sent[index].payload
        if len(set(piece)) < 40 or sent.count(piece) != 1:        # silence and repetition say nothing
            continue
        at = back.replace(b"\x7f", b"\xff").find(piece.replace(b"\x7f", b"\xff"))
        if at >= 0:
            delays.append(call.back[at // len(call.back[0].payload)].time - call.sent[index].time)
    if len(delays) < 10:
        yield f"only {len(delays)} of {len(call.sent)} packets came back unchanged"
    elif sorted(delays)[len(delays) // 2] * 1000 > float(max):
        yield f"the echo takes {sorted(delays)[len(delays) // 2] * 1000:.0f} ms"


def echo_heard(call, least="60"):
    said, different = {p.payload for p in call.sent}, len({p.payload for p in call.back})
    if len(said) < int(least):
        yield f"the PBX said only {len(said)} different packets"
    elif different < int(least):
        yield f"only {different} different packets came back: silence"


def copies_200(call, intervals):
    yield from copies(call, "200", intervals)


def copies(call, code, intervals):
    ours = [m for m in call.sip if m.source == call.bridge_sip and m.first.startswith(f"SIP/2.0 {code}")]
    times = [m.time for m in ours if "INVITE" in m.headers.get("cseq", "")]
    want = [float(interval) for interval in intervals.split(",")]
    got = [later - earlier for earlier, later in zip(times, times[1:])]
    if len(got) < len(want) or any(abs(g - w) > w * 0.15 for g, w in zip(got, want)):
        yield f"copies of the {code} after {', '.join(f'{g:.2f}' for g in got) or 'nothing'} s"


def early_rtp(call, least):
    early = [p for p in call.back if p.time < call.answered(1).time]
    if len(early) < int(least):
        yield f"only {len(early)} RTP packets before the 200"


def one_description(call):
    ours = {m.body for m in call.sip if m.source == call.bridge_sip and media(m.body)}
    if len(ours) != 1:
        yield f"{len(ours)} different descriptions"


def bye_after(call, seconds):
    bye = next(m for m in call.sip if m.source == call.bridge_sip and m.first.startswith("BYE"))
    after = bye.time - call.answered(1).time
    if abs(after - float(seconds)) > 1.5:
        yield f"BYE after {after:.1f} s"


def after_491(call, most):
    refused = next(m for m in call.sip if m.source != call.bridge_sip and m.first.startswith("SIP/2.0 491"))
    again = next(m for m in call.sip if m.source == call.bridge_sip and m.first.startswith("INVITE") and m.time > refused.time)
    if again.time - refused.time > float(most) + 0.1:
        yield f"again only {again.time - refused.time:.2f} s after the 491"


def hold(call, reinvite, resume, method="INVITE"):
    held, resumed = call.answered(reinvite, method).time, call.answered(resume, method).time
    during = [p for p in call.back if held + 0.04 < p.time < resumed - 0.001]
    if during:
        yield f"{len(during)} RTP packets during hold, to {sorted({p.target for p in during})}"
    before, after = [p for p in call.back if p.time <= held + 0.04], [p for p in call.back if p.time >= resumed - 0.001]
    if not before or not after:
        yield f"{len(before)} packets before hold, {len(after)} after"
        return
    if after[0].time > resumed + 0.2:
        yield f"RTP only {after[0].time - resumed:.2f} s after resume"
    if after[0].ssrc != before[-1].ssrc or (after[0].sequence - before[-1].sequence) & 0xFFFF != 1:
        yield "SSRC or sequence not continued after hold"
    advanced = ((after[0].timestamp - before[-1].timestamp) & 0xFFFFFFFF) / 8000
    if abs(advanced - (after[0].time - before[-1].time)) > 0.05:
        yield f"timestamp advanced by {advanced:.2f} s over {after[0].time - before[-1].time:.2f} s"
    if not after[0].marker:
        yield "no marker bit after hold"


def port_change(call, cseq):
    answer = call.answered(cseq)
    offer = next(m for m in call.sip if m.source != call.bridge_sip and m.headers.get("cseq", "") == f"{cseq} INVITE" and m.body)
    port = media(offer.body)[1]
    new = [p for p in call.back if p.target[1] == port]
    late = [p for p in call.back if p.target[1] != port and p.time > answer.time + 0.03]
    if not new or new[0].time > answer.time + 0.06:
        yield f"first packet to the new port {f'{(new[0].time - answer.time) * 1000:.0f} ms after the answer' if new else 'never'}"
    if late:
        yield f"{len(late)} packets still to the old port"
    yield from in_step(call.back)


def pt_change(call, cseq, before, after):
    at = call.answered(cseq).time
    if {p.pt for p in call.back if p.time < at - 0.02} != {int(before)}:
        yield f"payload types {sorted({p.pt for p in call.back if p.time < at - 0.02})} before"
    if {p.pt for p in call.back if p.time > at + 0.04} != {int(after)}:
        yield f"payload types {sorted({p.pt for p in call.back if p.time > at + 0.04})} after"
    yield from in_step(call.back)


def rtcp(call, mux=None, port=None):
    reports = [d for d in call.datagrams if d.source[1] in (call.bridge_port, call.bridge_port + 1) and len(d.payload) >= 8 and 200 <= d.payload[1] <= 204]
    wanted = call.pbx[1] if mux else call.pbx[2]
    if not any(d.target[1] == wanted for d in reports):
        yield f"no RTCP to port {wanted}, but to {sorted({d.target[1] for d in reports})}"
    if mux and any(d.source[1] != call.bridge_port for d in reports):
        yield "RTCP from another port than RTP"


def latch(call):
    real = {p.source for p in call.sent}
    tail = [p for p in call.back if p.time > call.back[0].time + 1]
    if not tail or {p.target for p in tail} - real:
        yield f"RTP goes to {sorted({p.target for p in tail})}, comes from {sorted(real)}"
    if not any(p.target == call.pbx[:2] for p in call.back):
        yield "nothing was sent to the SDP address before the lock"


def silent_to(call, ip):
    answered = [d for d in call.datagrams if d.target[0] == ip]
    if answered:
        yield f"{len(answered)} packets to {ip}"


CHECKS = {check.__name__: check for check in (
    rtp_back, rtp_after, echo_delay, echo_heard, copies_200, copies, early_rtp, one_description, bye_after, after_491, hold, port_change, pt_change, rtcp, latch, silent_to)}


def judge(capture, checks):
    """Everything wrong, as texts."""
    call, wrong = Capture(capture), []
    for text in checks:
        name, *settings = text.split()
        try:
            found = CHECKS[name](call, **dict(setting.split("=", 1) for setting in settings))
            wrong += [f"{name}: {problem}" for problem in found]
        except (LookupError, StopIteration, TypeError) as error:
            wrong.append(f"{name}: {error}")
    return wrong


if __name__ == "__main__":
    if len(sys.argv) < 3:
        raise SystemExit(__doc__)
    problems = judge(sys.argv[1], sys.argv[2:])
    print("\n".join(problems) or "as it should be")
    raise SystemExit(bool(problems))
