"""Captures of whole calls: SIP beside RTP, both directions, other file formats and link layers than the rest.

Their figures go to calls.toml; each function hands back the file's bytes and what a reader must find in it.
"""

import wire
from captures import other_speech_codes, speech_codes
from sender import Sender

PHONE, BRIDGE = ("192.0.2.10", 40000), ("192.0.2.20", 20000)
PBX_SIP, BRIDGE_SIP = ("192.0.2.9", 5060), ("192.0.2.20", 5060)

LEGEND = """\
# What each capture of a whole call holds. Written by gen.py; no reader was asked.
#
# frames        packets in the file, SIP and RTCP included      streams      RTP streams, one for each direction
# stream        the caller's, counted in order of appearance; what follows is of this one
# packets, lost, digits, digit_durations_ms, payload_type, event_payload_type, event_clock   as in expect.toml
"""


def sdp(address, payload_types):
    ip, port = address
    lines = ["v=0", f"o=- 1 1 IN IP4 {ip}", "s=-", f"c=IN IP4 {ip}", "t=0 0", f"m=audio {port} RTP/AVP {payload_types}"]
    lines += ["a=rtpmap:8 PCMA/8000", "a=rtpmap:96 telephone-event/8000", "a=fmtp:96 0-15", "a=ptime:20"]
    return "".join(f"{line}\r\n" for line in lines)


def sip(start, method, body=""):
    """A message of the one dialog here; `start` is its first line."""
    lines = [start, "Via: SIP/2.0/UDP 192.0.2.9:5060;branch=z9hG4bK-1", "From: <sip:5550100@192.0.2.9>;tag=a"]
    lines += ["To: <sip:1000@192.0.2.20>" + ("" if start.startswith("INVITE") else ";tag=b"), "Call-ID: 1@192.0.2.9"]
    lines += [f"CSeq: {2 if method == 'BYE' else 1} {method}", "Max-Forwards: 70", "Contact: <sip:192.0.2.9:5060>"]
    lines += ["Content-Type: application/sdp"] if body else []
    return ("".join(f"{line}\r\n" for line in lines) + f"Content-Length: {len(body)}\r\n\r\n{body}").encode()


def two_ways():
    """SIP, both directions on VLAN 7, the bridge's RTP first; pcapng with a nanosecond clock."""
    talk_ms, answered_ms = 2000, 1000
    caller, bridge = Sender("two ways caller", speech_codes(8), 8), Sender("two ways bridge", other_speech_codes(8), 8)
    caller.talk(800)
    for key in "42":
        caller.press(key, 100, payload_type=96)
        caller.talk(100, marker=True)
    caller.talk(talk_ms - caller.ms)
    bridge.talk(talk_ms)
    invite, target = "INVITE sip:1000@192.0.2.20 SIP/2.0", "sip:1000@192.0.2.20"
    frames = [
        (0, PBX_SIP, BRIDGE_SIP, sip(invite, "INVITE", sdp(PHONE, "8 96"))),
        (1_000, BRIDGE_SIP, PBX_SIP, sip("SIP/2.0 100 Trying", "INVITE")),
        (900_000, BRIDGE_SIP, PBX_SIP, sip("SIP/2.0 200 OK", "INVITE", sdp(BRIDGE, "8 96"))),
        (905_000, PBX_SIP, BRIDGE_SIP, sip(f"ACK {target} SIP/2.0", "ACK")),
        (3_100_000, PBX_SIP, BRIDGE_SIP, sip(f"BYE {target} SIP/2.0", "BYE")),
        (3_101_000, BRIDGE_SIP, PBX_SIP, sip("SIP/2.0 200 OK", "BYE")),
    ]
    start = answered_ms * 1000
    frames += [(start + packet.at_us, PHONE, BRIDGE, packet.rtp()) for packet in caller.packets]
    frames += [(start - 7_000 + packet.at_us, BRIDGE, PHONE, packet.rtp()) for packet in bridge.packets]
    frames.sort(key=lambda frame: frame[0])
    file = wire.pcapng([(at_us, wire.ethernet_ipv4(*addresses, payload, vlan=7)) for at_us, *addresses, payload in frames])
    return file, {
        "content": "a call with its SIP, PCMA both ways, digits 4 2 on payload type 96; pcapng, nanoseconds, VLAN tags",
        "must_yield": "two streams; the caller's is the one of the INVITE's sender; 4 2, 100 ms each",
        "requirements": ["SDP-005", "RTP-051"],
        "frames": len(frames),
        "streams": 2,
        "stream": 2,
        "packets": len(caller.packets),
        "event_packets": sum(packet.kind == "event" for packet in caller.packets),
        "lost": 0,
        "digits": "42",
        "digit_durations_ms": [100, 100],
        "payload_type": 8,
        "event_payload_type": 96,
        "event_clock": 8000,
    }


def ipv6_cooked():
    """RTP alone over IPv6, captured on the "any" interface."""
    sender = Sender("ipv6 cooked", speech_codes(0), 0)
    sender.talk(1000)
    sender.lose(sender.packets[20:22])
    addresses = (("2001:db8::10", 40000), ("2001:db8::20", 20000))
    file = wire.pcap_file(
        [(packet.at_us, wire.cooked_v2_ipv6(*addresses, packet.rtp())) for packet in sender.packets], wire.LINKTYPE_LINUX_SLL2
    )
    return file, {
        "content": "1 s speech, PCMU, two packets lost, no SIP; IPv6, Linux cooked capture v2",
        "must_yield": "one stream; two packets concealed",
        "requirements": ["RTP-021"],
        "frames": len(sender.packets),
        "streams": 1,
        "stream": 1,
        "packets": len(sender.packets),
        "event_packets": 0,
        "lost": 2,
        "digits": "",
        "digit_durations_ms": [],
        "payload_type": 0,
    }


CALLS = [("call_two_ways.pcapng", two_ways), ("call_ipv6_cooked.pcap", ipv6_cooked)]
