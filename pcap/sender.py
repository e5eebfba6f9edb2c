"""One RTP sender that talks and presses digits in slots of its packet time."""

import struct
from zlib import crc32

import sound
from wire import Packet

EVENT_CODES = "0123456789*#ABCD"
LONGEST_SEGMENT = 0xFFFF  # RFC 4733 section 2.5.1.3
EVENT_STEP_MS = 20


class Sender:
    """A packet stream with one SSRC. `ms` is the start of the next slot on the time line of the call.

    SSRC, first sequence number and first timestamp are fixed by `name`; both counters start low enough not to wrap.
    """

    def __init__(self, name, codes, payload_type=0, ptime=20, at_ms=0):
        self.codes, self.payload_type, self.ptime, self.ms = codes, payload_type, ptime, at_ms
        self.offset_us = 0
        self.rename(name)
        self.packets = []

    def rename(self, name):
        """Takes a new SSRC and new counters, as a PBX does when it puts another source on the line."""
        self.ssrc = crc32(f"{name} ssrc".encode())
        self.sequence = crc32(f"{name} sequence".encode()) & 0x7FFF
        self.origin = (crc32(f"{name} timestamp".encode()) & 0x7FFFFFFF) - self.ms * 8

    def send(self, kind, payload_type, payload, timestamp, marker=False):
        at_us = self.ms * 1000 + self.offset_us
        packet = Packet(at_us, self.ssrc, self.sequence & 0xFFFF, timestamp & 0xFFFFFFFF, payload_type, marker, payload, kind)
        self.sequence += 1
        self.packets.append(packet)
        return packet

    def talk(self, ms, marker=False):
        """Sends `ms` of the sound that lies at this place of the time line (it repeats at its end)."""
        for _ in range(ms // self.ptime):
            at = self.ms * 8 % len(self.codes)
            payload = self.codes[at : at + self.ptime * 8]
            self.send("audio", self.payload_type, payload, self.origin + self.ms * 8, marker)
            self.ms += self.ptime
            marker = False

    def pause(self, ms):
        """Sends nothing for `ms`; the timestamp runs on."""
        self.ms += ms

    def comfort_noise(self, minus_dbov):
        """One RFC 3389 packet, one byte of noise level."""
        self.send("noise", 13, bytes([minus_dbov]), self.origin + self.ms * 8)
        self.ms += self.ptime

    def press(self, digit, ms, payload_type=101, clock=8000, timestamp=None, zero_first=False, ends_share_sequence=False):
        """Sends one telephone-event of `ms`: M on the first packet, updates every 20 ms, three end packets.

        Each packet goes out in the slot whose sound it stands for, so the first end is in the last slot of the tone and
        its two copies in the two slots after it. Longer than 0xFFFF ticks: split into segments. Returns the packets.
        """
        code, tick = EVENT_CODES.index(digit), clock // 1000
        base = self.origin + self.ms * tick if timestamp is None else timestamp
        first, start = len(self.packets), base
        durations = [0] if zero_first else []
        durations += [step * EVENT_STEP_MS * tick for step in range(1, ms // EVENT_STEP_MS + 1)]
        for number, ticks in enumerate(durations):
            last = number == len(durations) - 1
            reported = ticks - (start - base)
            over = reported > LONGEST_SEGMENT
            self.event(code, min(reported, LONGEST_SEGMENT), start, payload_type, end=last, marker=number == 0)
            start += LONGEST_SEGMENT if over else 0
        for _ in range(2):
            if ends_share_sequence:
                self.sequence -= 1
            self.event(code, durations[-1] - (start - base), start, payload_type, end=True)
        return self.packets[first:]

    def event(self, code, duration, timestamp, payload_type, end=False, marker=False):
        payload = struct.pack("!BBH", code, (0x80 if end else 0) | 10, duration)
        self.send("event", payload_type, payload, timestamp, marker)
        self.ms += EVENT_STEP_MS

    def lose(self, packets):
        """The network loses these packets: their sequence numbers stay used."""
        gone = {id(packet) for packet in packets}
        self.packets = [packet for packet in self.packets if id(packet) not in gone]
