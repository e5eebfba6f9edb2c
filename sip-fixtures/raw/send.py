#!/usr/bin/env python3
"""Sends the bytes of a file as one UDP datagram and waits for what comes back.

    send.py FILE [--to 127.0.0.1:5060] [--expect CODE | --expect-silence] [--hex] [--wait SECONDS] [--match REGEX]

The file goes out as it is, but for the eight letters FRESHFRE, which become as many random ones in each run (so that a
second run is not taken for a retransmission). --hex: the file is hexadecimal text; # starts a comment. Prints every
answer. --match: the answer must hold this. A 2xx to an INVITE gets ACK and BYE, another final answer to it its ACK.
Exit code 0: what came back is what was expected.
"""

import argparse
import random
import re
import socket
import string
import time

PLACEHOLDER = b"FRESHFRE"


def content(path, is_hex):
    raw = open(path, "rb").read()
    if is_hex:
        return bytes.fromhex("".join(line.split("#")[0].strip() for line in raw.decode().splitlines()))
    fresh = "".join(random.choices(string.ascii_lowercase, k=len(PLACEHOLDER))).encode()
    return raw.replace(PLACEHOLDER, fresh)


def header(message, name):
    found = re.search(rf"^{name}\s*:\s*(.*?)\r?$", message, re.MULTILINE | re.IGNORECASE)
    return found.group(1) if found else ""


def follow_up(answer, request, method, number, to_answer=True):
    """ACK or BYE for an answered INVITE."""
    target = re.search(r"<([^>]+)>", header(answer, "Contact"))
    uri = target.group(1) if target and to_answer else request.split(" ")[1]
    via = header(request, "Via")
    if to_answer:
        via = re.sub(r"branch=[^;,\s]+", f"branch=z9hG4bK{random.getrandbits(48):x}", via)
    lines = [f"{method} {uri} SIP/2.0", f"Via: {via}", "Max-Forwards: 70", f"From: {header(request, 'From')}",
             f"To: {header(answer, 'To')}", f"Call-ID: {header(request, 'Call-ID')}", f"CSeq: {number} {method}",
             "Content-Length: 0", "", ""]
    return "\r\n".join(lines).encode()


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("file")
    options.add_argument("--to", default="127.0.0.1:5060")
    options.add_argument("--expect", type=int)
    options.add_argument("--expect-silence", action="store_true")
    options.add_argument("--match")
    options.add_argument("--hex", action="store_true")
    options.add_argument("--wait", type=float, default=2.0)
    given = options.parse_args()
    host, port = given.to.rsplit(":", 1)

    data = content(given.file, given.hex)
    peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    peer.bind(("127.0.0.1", 0))
    peer.sendto(data, (host, int(port)))
    request, codes, matched, invite = data.decode("latin-1"), [], not given.match, data.startswith(b"INVITE ")
    deadline = time.monotonic() + given.wait
    while (left := deadline - time.monotonic()) > 0:
        peer.settimeout(left)
        try:
            answer = peer.recv(65535).decode("latin-1")
        except OSError:
            break
        status = re.match(r"SIP/2\.0 (\d{3})", answer)
        if not status:
            print(f"not an answer: {answer[:60]!r}")
            codes.append(0)
            continue
        code = int(status.group(1))
        print(answer.split("\r\n")[0])
        if code < 200 or code in codes or (invite and "INVITE" not in header(answer, "CSeq")):
            continue
        codes.append(code)
        matched = matched or bool(re.search(given.match, answer, re.DOTALL))
        if invite:
            number = int(re.match(r"\d+", header(request, "CSeq")).group())
            peer.sendto(follow_up(answer, request, "ACK", number, code < 300), (host, int(port)))
            if code < 300:
                peer.sendto(follow_up(answer, request, "BYE", number + 1), (host, int(port)))
        if given.expect and not given.expect_silence:
            break
    if given.expect_silence:
        print("silence, as expected" if not codes else f"{codes} instead of silence")
        raise SystemExit(bool(codes))
    if given.expect:
        right = codes[:1] == [given.expect] and matched
        print("as expected" if right else f"{codes or 'silence'} instead of {given.expect}" + ("" if matched else f" with {given.match}"))
        raise SystemExit(not right)


if __name__ == "__main__":
    main()
