#!/usr/bin/env python3
"""A stranger floods a call's RTP port from a foreign loopback address and must get nothing back.

    bleed.py --port RTP_PORT [--host 127.0.0.1] [--from 127.0.0.66] [--seconds 3]

Sends valid-looking PCMU packets (own SSRC, rising sequence) 500 times a second, to the RTP and the RTCP port, plus STUN and
noise. Exit code 0: no single packet came back (RTP-011, RTP-016).
"""

import argparse
import socket
import struct
import time


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--host", default="127.0.0.1")
    options.add_argument("--port", type=int, required=True)
    options.add_argument("--from", dest="source", default="127.0.0.66")
    options.add_argument("--seconds", type=float, default=3)
    given = options.parse_args()

    stranger = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    stranger.bind((given.source, 0))
    stranger.setblocking(False)
    started, sent, received = time.monotonic(), 0, 0
    stun = struct.pack("!HHI12s", 0x0001, 0, 0x2112A442, b"trunkstream0")
    while time.monotonic() - started < min(given.seconds, 60):
        rtp = struct.pack("!BBHII", 0x80, 0, sent & 0xFFFF, sent * 160 & 0xFFFFFFFF, 0xBADC0DE) + b"\x20" * 160
        odd = (stun, b"\x00" * 40, b"\x80\x00")[sent % 3]
        for packet, port in ((rtp, given.port), (rtp, given.port + 1), (odd, given.port)):
            try:
                stranger.sendto(packet, (given.host, port))
            except OSError:
                pass
        sent += 1
        try:
            while stranger.recv(2048):
                received += 1
        except OSError:
            pass
        time.sleep(0.002)
    print(f"{sent} packets sent from {given.source} to {given.host}:{given.port}, {received} came back")
    raise SystemExit(received > 0)


if __name__ == "__main__":
    main()
