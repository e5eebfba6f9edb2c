"""What a receiver must find in each capture, counted from the packets written, never from running a receiver."""

LEGEND = """\
# What each capture holds. Written by gen.py from the packets it wrote; no receiver was asked.
#
# packets            frames in the file             audio_packets, event_packets, noise_packets   of these, by kind
# event_ends         telephone-event packets with E set
# event_identities   distinct (SSRC, timestamp, code) of the telephone-events
# lost               sequence numbers missing between the first and last of each SSRC (RFC 3550 A.3)
# duplicates         packets whose SSRC and sequence number came before
# reordered          packets that arrive after a higher sequence number of their SSRC, duplicates not counted
# ssrcs              distinct SSRCs, event senders included
# digits             digits to report, in order     digit_durations_ms   what a receiver can know of their length
# duration_ms        time line of the sender, from the first slot to the end of the last
# arrival_ms         from the first to the last packet on the wire
# payload_type, ptime_ms, clock                     of the audio
# filled_ms          time line not covered by audio that arrived: gaps, losses, digits (to be filled or concealed)
# superseded_packets audio of a displaced SSRC, to be dropped
# encoding           the codec, where the payload type alone does not say PCMU or PCMA
# inband             true: the digits are tones in the audio, to be looked for (lengths within 10 ms)
# clean              true: tshark must find exactly ptime_ms between any two packets
"""


def unwrapped(packets):
    """(SSRC, sequence number extended over wraps) of each packet in order of arrival."""
    highest, out = {}, []
    for packet in packets:
        last = highest.get(packet.ssrc, packet.sequence)
        number = last + ((packet.sequence - last + 0x8000) & 0xFFFF) - 0x8000
        highest[packet.ssrc] = max(last, number)
        out.append((packet.ssrc, number))
    return out


def sequence_counts(packets):
    """(lost, duplicates, reordered) over all SSRCs."""
    seen, top, duplicates, reordered = {}, {}, 0, 0
    for ssrc, number in unwrapped(packets):
        numbers = seen.setdefault(ssrc, set())
        if number in numbers:
            duplicates += 1
        elif number < top.get(ssrc, number):
            reordered += 1
        numbers.add(number)
        top[ssrc] = max(top.get(ssrc, number), number)
    lost = sum(max(numbers) - min(numbers) + 1 - len(numbers) for numbers in seen.values())
    return lost, duplicates, reordered


def facts(name, content, must, requirements, made):
    """The keys of one table of expect.toml, in order."""
    packets = made.packets
    kinds = {kind: [p for p in packets if p.kind == kind] for kind in ("audio", "event", "noise")}
    lost, duplicates, reordered = sequence_counts(packets)
    audible = len(kinds["audio"]) - made.superseded_packets
    silenced = made.duration_ms - audible * made.ptime_ms
    return {
        "file": f"{name}.pcap",
        "content": content,
        "must_yield": must,
        "requirements": requirements,
        "packets": len(packets),
        "audio_packets": len(kinds["audio"]),
        "event_packets": len(kinds["event"]),
        "noise_packets": len(kinds["noise"]),
        "event_ends": sum(p.payload[1] >> 7 for p in kinds["event"]),
        "event_identities": len({(p.ssrc, p.timestamp, p.payload[0]) for p in kinds["event"]}),
        "lost": lost,
        "duplicates": duplicates,
        "reordered": reordered,
        "ssrcs": len({p.ssrc for p in packets}),
        "digits": "".join(digit for digit, _ in made.digits),
        "digit_durations_ms": [ms for _, ms in made.digits],
        "event_payload_type": made.event_payload_type,
        "event_clock": made.event_clock,
        "duration_ms": made.duration_ms,
        "arrival_ms": (packets[-1].at_us - packets[0].at_us) // 1000,
        "payload_type": made.payload_type,
        "ptime_ms": made.ptime_ms,
        "clock": 8000,
        "filled_ms": silenced,
        "superseded_packets": made.superseded_packets,
        "clean": False,
        **made.more,
    }


def toml_value(value):
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, list):
        return "[" + ", ".join(map(toml_value, value)) + "]"
    return str(value)


def toml(legend, tables):
    parts = [legend]
    for name, table in tables.items():
        lines = [f"{key} = {toml_value(value)}" for key, value in table.items()]
        parts.append(f"[{name}]\n" + "\n".join(lines) + "\n")
    return "\n".join(parts)


def readme_table(tables):
    """The Markdown table file, content, what it must yield, requirement."""
    rows = ["| File | Content | A receiver must yield | Requirement |", "|---|---|---|---|"]
    for table in tables.values():
        cells = (f"`{table['file']}`", table["content"], table["must_yield"], ", ".join(table["requirements"]))
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)
