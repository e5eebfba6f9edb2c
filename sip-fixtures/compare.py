#!/usr/bin/env python3
"""Compares a test bot's journal with what it must have seen.

    compare.py JOURNAL EXPECTATION      prints each difference; exit code 1 if there is one

The expectation is one call, or {"calls": [call, call, …]} in the order the streams started, or {"starts": N}.
A call has any of these keys:

    path           the upgrade request's path and query
    order          kinds of messages, repeats joined: ["connected", "start", "media", "stop"]
    start, stop    what that message holds; objects are compared key by key, but custom_parameters wholly;
                   {"regex": "…"} matches a whole text; null: there was no such message
    dtmf           [[digit, milliseconds], …] in order; milliseconds is a number, [least, most] or null for any
    marks          names of the marks that came back, in order; marks_last: the last of them
    media_bytes    [least, most] of PCM in all media messages

Every stream is also held against the protocol itself: connected alone and first, counters without gaps, one stream_sid,
nothing after stop.
"""

import json
import re
import sys


def streams(journal):
    """The journal's connections, those that got a start message first, in the order of their start."""
    by_number = {}
    for number, line in enumerate(open(journal, encoding="utf-8"), 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except ValueError:
            raise SystemExit(f"{journal}:{number}: not JSON: {line[:80]!r}")
        by_number.setdefault(entry.get("connection"), []).append(entry)
    started = [entries for entries in by_number.values() if first(entries, "start")]
    return sorted(started, key=lambda entries: first(entries, "start").get("t_ms", 0))


def first(entries, event):
    return next((entry for entry in entries if entry["event"] == event), None)


def message(entries, event):
    entry = first(entries, event)
    return None if entry is None else entry.get("message", {}).get(event, entry.get("message", {}))


def media_bytes(entries):
    for entry in reversed(entries):
        if "media_bytes" in entry:
            return entry["media_bytes"]
        if entry["event"] == "media_total":
            return entry["bytes"]
    return sum(entry["message"]["media"].get("bytes", 0) for entry in entries if entry["event"] == "media")


def media_messages(entries):
    for entry in reversed(entries):
        if "media_messages" in entry:
            return entry["media_messages"]
        if entry["event"] == "media_total":
            return entry["messages"]
    return sum(entry["event"] == "media" for entry in entries)


def differences(want, got, where):
    """What of `want` is not in `got`."""
    if isinstance(want, dict) and set(want) == {"regex"}:
        if not isinstance(got, str) or not re.fullmatch(want["regex"], got):
            yield f"{where}: {got!r} does not match {want['regex']!r}"
    elif isinstance(want, dict) and isinstance(got, dict):
        for key, value in want.items():
            if key not in got:
                yield f"{where}.{key}: missing"
            else:
                yield from differences(value, got[key], f"{where}.{key}")
        if where.endswith("custom_parameters"):
            for key in got.keys() - want.keys():
                yield f"{where}.{key}: {got[key]!r} should not be there"
    elif type(want) is not type(got) or want != got:
        yield f"{where}: {got!r} instead of {want!r}"


def order(entries):
    """Kinds of messages with repeats joined; media that is only counted at the end stands before stop."""
    kinds = []
    for entry in entries:
        kind = entry["event"]
        if "message" in entry and (not kinds or kinds[-1] != kind):
            kinds.append(kind)
    if "media" not in kinds and media_messages(entries) and "start" in kinds:
        kinds.insert(kinds.index("start") + 1, "media")
    return kinds


def digits(want, entries):
    got = [entry["message"]["dtmf"] for entry in entries if entry["event"] == "dtmf"]
    told = [(digit.get("digit"), digit.get("duration")) for digit in got]
    if [digit for digit, _ in want] != [digit for digit, _ in told]:
        yield f"digits {told} instead of {[digit for digit, _ in want]}"
        return
    for (digit, ms), (_, duration) in zip(want, told):
        if not isinstance(duration, str) or not duration.isdecimal():
            yield f"digit {digit}: duration {duration!r} is not a decimal string"
        elif isinstance(ms, list) and not ms[0] <= int(duration) <= ms[1]:
            yield f"digit {digit}: {duration} ms, not {ms[0]} to {ms[1]}"
        elif isinstance(ms, int) and int(duration) != ms:
            yield f"digit {digit}: {duration} ms instead of {ms}"


def against_protocol(entries):
    """What no stream may do."""
    messages = [entry["message"] for entry in entries if isinstance(entry.get("message"), dict)]
    if messages and messages[0] != {"event": "connected"}:
        yield f"first message is {messages[0]}, not connected alone"
    counted = messages[1:]
    numbers = [item.get("sequence_number") for item in counted]
    if not all(isinstance(number, str) and number.isdecimal() for number in numbers):
        yield f"sequence_number is not always a decimal string: {numbers[:5]}"
        return
    numbers = [int(number) for number in numbers]
    if numbers and numbers[0] != 1:
        yield f"start has sequence_number {numbers[0]}"
    if any(later <= earlier for earlier, later in zip(numbers, numbers[1:])):
        yield "sequence_number does not always rise"
    journalled = sum(item.get("event") == "media" for item in counted)
    if counted and counted[-1].get("event") == "stop" and numbers[-1] != len(numbers) - journalled + media_messages(entries):
        yield f"stop has sequence_number {numbers[-1]} after {len(numbers) - journalled - 1} messages and {media_messages(entries)} of media"
    sids = {item.get("stream_sid") for item in counted}
    if len(sids) > 1 or not all(re.fullmatch("[0-9a-f]{32}", str(sid)) for sid in sids):
        yield f"stream_sid: {sids}"
    if any(item.get("event") == "stop" for item in counted[:-1]):
        yield "a message after stop"
    for entry in entries:
        for fault in entry.get("faults") or []:
            yield f"the bot found: {fault}"
        if entry["event"] == "fault":
            yield f"the bot found: {entry}"


def call(want, entries):
    """Differences of one stream."""
    yield from against_protocol(entries)
    if "path" in want and first(entries, "open") and first(entries, "open").get("path") != want["path"]:
        yield f"path {first(entries, 'open').get('path')!r} instead of {want['path']!r}"
    if "order" in want and order(entries) != want["order"]:
        yield f"order {order(entries)} instead of {want['order']}"
    for event in ("start", "stop"):
        if event in want:
            got = message(entries, event)
            if want[event] is None and got is not None:
                yield f"a {event} message that should not be there"
            elif want[event] is not None:
                yield from differences(want[event], got, event)
    if "dtmf" in want:
        yield from digits(want["dtmf"], entries)
    marks = [entry["message"]["mark"].get("name") for entry in entries if entry["event"] == "mark"]
    if "marks" in want and marks != want["marks"]:
        yield f"marks {marks} instead of {want['marks']}"
    if "marks_last" in want and marks[-1:] != [want["marks_last"]]:
        yield f"last mark {marks[-1:]} instead of {want['marks_last']!r}"
    if "media_bytes" in want:
        least, most = want["media_bytes"]
        if not least <= media_bytes(entries) <= most:
            yield f"{media_bytes(entries)} bytes of media, not {least} to {most}"


def compare(journal, expectation):
    """Every difference, as texts."""
    want = json.load(open(expectation, encoding="utf-8"))
    got = streams(journal)
    if "starts" in want:
        return [] if len(got) == want["starts"] else [f"{len(got)} streams started instead of {want['starts']}"]
    calls = want.get("calls", [want])
    if len(got) != len(calls):
        return [f"{len(got)} streams started instead of {len(calls)}"]
    return [
        (f"call {number}: " if len(calls) > 1 else "") + text
        for number, (one, entries) in enumerate(zip(calls, got), 1)
        for text in call(one, entries)
    ]


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    found = compare(sys.argv[1], sys.argv[2])
    print("\n".join(found) or "as expected")
    raise SystemExit(bool(found))
