"""RTP packets and the classic pcap file around them: Ethernet, IPv4, UDP, with correct checksums.

Times are whole microseconds from the first slot of the capture. (A float epoch makes seconds and microseconds disagree
at second borders: analysers then show deltas of -980 and +1020 ms.)
"""

import struct
from dataclasses import dataclass
from ipaddress import ip_address

EPOCH_S = 1_700_000_000
SOURCE = (bytes.fromhex("02000000000a"), bytes([192, 0, 2, 10]), 40000)
TARGET = (bytes.fromhex("020000000014"), bytes([192, 0, 2, 20]), 20000)
EXPEDITED_FORWARDING = 46 << 2
LINKTYPE_ETHERNET = 1
LINKTYPE_LINUX_SLL2 = 276
VLAN_TAG = 0x8100


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


def udp(source, target, pseudo_header, payload):
    """The UDP datagram between two (address, port)s, with its checksum."""
    length = 8 + len(payload)
    head = struct.pack("!HHH", source[1], target[1], length)
    checksum = ones_complement_sum(pseudo_header(length) + head + b"\0\0" + payload) or 0xFFFF
    return head + struct.pack("!H", checksum) + payload


def ethernet_ipv4(source, target, payload, vlan):
    """A frame on a VLAN: UDP over IPv4 between two (address, port)s."""
    ends = ip_address(source[0]).packed + ip_address(target[0]).packed
    data = udp(source, target, lambda length: ends + struct.pack("!BBH", 0, 17, length), payload)

    def ip_header(checksum):
        return struct.pack("!BBHHHBBH", 0x45, EXPEDITED_FORWARDING, 20 + len(data), 0, 0x4000, 64, 17, checksum) + ends

    ip = ip_header(ones_complement_sum(ip_header(0)))
    return TARGET[0] + SOURCE[0] + struct.pack("!HHH", VLAN_TAG, vlan, 0x0800) + ip + data


def cooked_v2_ipv6(source, target, payload):
    """A frame of the "any" interface (LINKTYPE_LINUX_SLL2): UDP over IPv6."""
    ends = ip_address(source[0]).packed + ip_address(target[0]).packed
    data = udp(source, target, lambda length: ends + struct.pack("!IHBB", length, 0, 0, 17), payload)
    ip = struct.pack("!IHBB", 6 << 28 | EXPEDITED_FORWARDING << 20, len(data), 17, 64) + ends
    return struct.pack("!HHIHBB8s", 0x86DD, 0, 2, 1, 0, 6, SOURCE[0] + b"\0\0") + ip + data


def pcapng(frames):
    """A little-endian pcapng file of (microsecond, Ethernet frame)s, one interface, with a nanosecond clock."""

    def block(kind, body):
        body += b"\0" * (-len(body) % 4)
        length = struct.pack("<I", len(body) + 12)
        return struct.pack("<I", kind) + length + body + length

    resolution = struct.pack("<HHB3xHH", 9, 1, 9, 0, 0)  # if_tsresol 10^-9, end of options
    out = [block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1))]
    out.append(block(1, struct.pack("<HHI", LINKTYPE_ETHERNET, 0, 0) + resolution))
    for at_us, data in frames:
        ticks = EPOCH_S * 1_000_000_000 + at_us * 1000
        out.append(block(6, struct.pack("<IIIII", 0, ticks >> 32, ticks & 0xFFFFFFFF, len(data), len(data)) + data))
    return b"".join(out)


def pcap(packets):
    """A classic little-endian microsecond pcap file of `packets` in the order given."""
    return pcap_file([(packet.at_us, frame(packet, number + 1)) for number, packet in enumerate(packets)], LINKTYPE_ETHERNET)


def pcap_file(frames, linktype):
    """A classic little-endian microsecond pcap file of (microsecond, frame)s."""
    out = [struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, linktype)]
    for at_us, data in frames:
        seconds, micros = divmod(at_us, 1_000_000)
        out.append(struct.pack("<IIII", EPOCH_S + seconds, micros, len(data), len(data)))
        out.append(data)
    return b"".join(out)
