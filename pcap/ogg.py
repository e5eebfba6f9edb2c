"""The packets of an Ogg file (RFC 3533)."""

from pathlib import Path

HEADERS = 2  # OpusHead and OpusTags (RFC 7845 section 3)


def packets(name):
    """The audio packets of the Ogg Opus file `name` in this directory."""
    data, at, found, part = (Path(__file__).resolve().parent / name).read_bytes(), 0, [], b""
    while at < len(data):
        assert data[at : at + 4] == b"OggS", f"{name}: no page at {at}"
        lacing = data[at + 27 : at + 27 + data[at + 26]]
        at += 27 + len(lacing)
        for length in lacing:
            part += data[at : at + length]
            at += length
            if length < 255:
                found.append(part)
                part = b""
    return found[HEADERS:]
