"""RTP packets and the classic pcap file around them: Ethernet, IPv4, UDP, with correct checksums.

Times are whole microseconds from the first slot of the capture. (A float epoch makes seconds and microseconds disagree
at second borders: analysers then show deltas of -980 and +1020 ms.)
"""

import struct
from dataclasses import dataclass

EPOCH_S = 1_700_000_000
SOURCE = (bytes.fromhex("02000000000a"), bytes([192, 0, 2, 10]), 40000)
TARGET = (bytes.fromhex("020000000014"), bytes([192, 0, 2, 20]), 20000)
EXPEDITED_FORWARDING = 46 << 2
LINKTYPE_ETHERNET = 1


@dataclass
class Packet:
    """One RTP packet (RFC 3550 section 5.1) and when it arrives, in microseconds."""

    at_us: int
    ssrc: int
    sequence: int
    timestamp: int
    payload_type: int
    marker: bool
    payload: bytes
    kind: str  # "audio", "event" or "noise"

    def rtp(self):
        second = self.payload_type | (0x80 if self.marker else 0)
        head = struct.pack("!BBHII", 0x80, second, self.sequence & 0xFFFF, self.timestamp & 0xFFFFFFFF, self.ssrc)
        return head + self.payload


def ones_complement_sum(data):
    """Checksum of RFC 1071 over `data`."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def frame(packet, number):
    """The Ethernet frame that carries `packet`; `number` becomes the IP identification."""
    (source_mac, source_ip, source_port), (target_mac, target_ip, target_port) = SOURCE, TARGET
    data = packet.rtp()
    length = 8 + len(data)
    pseudo = source_ip + target_ip + struct.pack("!BBH", 0, 17, length)
    udp = struct.pack("!HHHH", source_port, target_port, length, 0)
    checksum = ones_complement_sum(pseudo + udp + data) or 0xFFFF
    udp = struct.pack("!HHHH", source_port, target_port, length, checksum)

    def ip_header(checksum):
        fixed = struct.pack("!BBHHHBBH", 0x45, EXPEDITED_FORWARDING, 20 + length, number & 0xFFFF, 0x4000, 64, 17, checksum)
        return fixed + source_ip + target_ip

    ip = ip_header(ones_complement_sum(ip_header(0)))
    return target_mac + source_mac + b"\x08\x00" + ip + udp + data


def pcap(packets):
    """A classic little-endian microsecond pcap file of `packets` in the order given."""
    out = [struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, LINKTYPE_ETHERNET)]
    for number, packet in enumerate(packets):
        data = frame(packet, number + 1)
        seconds, micros = divmod(packet.at_us, 1_000_000)
        out.append(struct.pack("<IIII", EPOCH_S + seconds, micros, len(data), len(data)))
        out.append(data)
    return b"".join(out)
