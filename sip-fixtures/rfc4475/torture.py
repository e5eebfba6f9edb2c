"""What one torture message is, and the list they all go into."""

from dataclasses import dataclass

MESSAGES = []

OFFER = b"""\
v=0
o=exchange 4001 1 IN IP4 192.0.2.40
s=-
c=IN IP4 192.0.2.40
t=0 0
m=audio 30200 RTP/AVP 0 8 101
a=rtpmap:101 telephone-event/8000
a=fmtp:101 0-15
""".replace(b"\n", b"\r\n")


@dataclass(frozen=True)
class Message:
    name: str
    rfc: str  # section of RFC 4475
    title: str  # heading of that section
    verdict: str
    why: str
    data: bytes
    also: tuple  # other verdicts RFC 4475 names as right

    @property
    def kind(self):
        return "response" if self.data.lstrip()[:4].upper() == b"SIP/" else "request"


def add(name, rfc, title, verdict, why, data, also=()):
    """Puts one message on the list."""
    MESSAGES.append(Message(name, rfc, title, verdict, why, data, tuple(also)))


def sip(head, body=b""):
    """`head` with CRLF line ends and an empty line after it, then `body`; `@LENGTH@` becomes the length of the body."""
    head = head.strip(b"\n").replace(b"@LENGTH@", str(len(body)).encode())
    return head.replace(b"\n", b"\r\n") + b"\r\n\r\n" + body
