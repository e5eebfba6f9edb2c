#!/usr/bin/env python3
"""Sends the bytes of a file as one UDP datagram and waits for what comes back.

    send.py FILE [--to 127.0.0.1:5060] [--expect CODE | --expect-silence] [--hex] [--wait SECONDS] [--match REGEX]

The file goes out as it is, but for the eight letters FRESHFRE, which become as many random ones in each run (so that a
second run is not taken for a retransmission). --hex: the file is hexadecimal text; # starts a comment. Prints every
answer. --login USER:PASSWORD: a 401 that asks for digest by --algorithm is answered, once.
--match: the answer must hold this. A 2xx to an INVITE gets ACK and BYE, another final answer to it its ACK.
Exit code 0: what came back is what was expected.
"""

import argparse
import hashlib
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


def authorization(request, challenge, login, algorithm):
    """The value of Authorization (RFC 7616) for the first challenge of that algorithm; None where there is none."""
    values = re.findall(r"^WWW-Authenticate: Digest (.*?)\r?$", challenge, re.MULTILINE)
    fields = next((f for f in (dict(re.findall(r'(\w+)="?([^",]*)"?', v)) for v in values) if f.get("algorithm") == algorithm), None)
    if not fields:
        return None
    (user, password), uri = login.split(":", 1), request.split(" ")[1]
    digest = lambda *parts: hashlib.new({"MD5": "md5", "SHA-256": "sha256", "SHA-512-256": "sha512_256"}[algorithm], ":".join(parts).encode()).hexdigest()
    key, what = digest(user, fields["realm"], password), digest(request.split(" ")[0], uri)
    response = digest(key, fields["nonce"], "00000001", "c0ffee", "auth", what)
    return (f'Digest username="{user}", realm="{fields["realm"]}", nonce="{fields["nonce"]}", uri="{uri}", response="{response}", '
            f'algorithm={algorithm}, cnonce="c0ffee", qop=auth, nc=00000001')


def again(request, value):
    """The request with credentials, a new branch and the next CSeq."""
    number = int(re.match(r"\d+", header(request, "CSeq")).group())
    request = re.sub(r"branch=[^;,\s]+", f"branch=z9hG4bK{random.getrandbits(48):x}", request, count=1)
    return re.sub(r"^CSeq: \d+", f"Authorization: {value}\r\nCSeq: {number + 1}", request, count=1, flags=re.MULTILINE)


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
    options.add_argument("--login", metavar="USER:PASSWORD")
    options.add_argument("--algorithm", default="SHA-256")
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
        if code == 401 and given.login:
            number = int(re.match(r"\d+", header(request, "CSeq")).group())
            peer.sendto(follow_up(answer, request, "ACK", number, False), (host, int(port)))
            order = re.findall(r"algorithm=([\w-]+)", answer)
            value = authorization(request, answer, given.login, given.algorithm)
            if order != ["SHA-256", "SHA-512-256", "MD5"] or not value:
                raise SystemExit(f"challenged by {order}")
            request, given.login = again(request, value), None
            peer.sendto(request.encode("latin-1"), (host, int(port)))
            continue
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
