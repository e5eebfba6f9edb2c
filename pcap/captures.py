"""The list of captures: one function each, and what each file means.

To add one, write a function with the `capture` decorator; the file, expect.toml, the README table and SHA256SUMS follow.
"""

from dataclasses import dataclass, field
from functools import lru_cache
from random import Random

import g722
import sound
from ogg import packets as ogg_packets
from sender import Sender

CAPTURES = []


@dataclass
class Capture:
    """What a capture function hands back; everything countable is counted from `packets` by expect.py."""

    packets: list
    duration_ms: int
    payload_type: int = 0
    ptime_ms: int = 20
    digits: list = field(default_factory=list)  # (digit, milliseconds a receiver can know)
    event_payload_type: int = 101
    event_clock: int = 8000
    superseded_packets: int = 0  # audio of a sender that another sender has displaced
    more: dict = field(default_factory=dict)  # further keys for expect.toml


def capture(name, content, must, requirements):
    """Registers the function below it as the maker of `name`.pcap."""

    def register(make):
        CAPTURES.append((name, content, must, requirements.split(), lambda: make(name)))
        return make

    return register


@lru_cache(maxsize=None)
def speech_codes(payload_type=0):
    return sound.encode(payload_type, sound.speech())


@lru_cache(maxsize=None)
def other_speech_codes(payload_type=0):
    return sound.encode(payload_type, sound.speech(pitch=196.0, seed=3))


def plain_speech(name, payload_type, ptime):
    sender = Sender(name, speech_codes(payload_type), payload_type, ptime)
    sender.talk(sound.SPEECH_MS)
    return Capture(sender.packets, sender.ms, payload_type, ptime, more={"clean": True})


def register_plain(payload_type, codec, ptime):
    name = f"speech_pc{codec}_{ptime}ms"
    content = f"6 s speech, PC{codec.upper()} (payload type {payload_type}), {ptime} ms packets"
    must = "all of it, bit-exact after G.711 decoding; nothing concealed"
    capture(name, content, must, "RTP-001 RTP-035")(lambda name: plain_speech(name, payload_type, ptime))


for _payload_type, _codec, _ptime in ((0, "mu", 20), (8, "ma", 20), (0, "mu", 10), (8, "ma", 30), (0, "mu", 40), (0, "mu", 60)):
    register_plain(_payload_type, _codec, _ptime)


@lru_cache(maxsize=None)
def g722_codes():
    """The speech in G.722: eight octets a millisecond, like G.711."""
    return g722.encode(sound.at_16_khz(sound.speech()))


@capture(
    "speech_g722_20ms",
    "6 s speech, G.722 (payload type 9, clock 8000 at 16 kHz), 20 ms packets",
    "all of it at 16 kHz, bit-exact after G.722 decoding; nothing concealed",
    "RTP-001 RTP-035",
)
def wideband(name):
    sender = Sender(name, g722_codes(), 9)
    sender.talk(sound.SPEECH_MS)
    return Capture(sender.packets, sender.ms, 9, more={"clean": True, "encoding": "G722"})


@capture(
    "speech_opus_20ms",
    "6 s speech, Opus (payload type 111, clock 48000), 20 ms packets with in-band FEC; the packets of `speech.opus`",
    "all of it; nothing concealed",
    "RTP-001",
)
def opus(name):
    sender = Sender(name, b"")
    for payload in ogg_packets("speech.opus")[: sound.SPEECH_MS // 20]:
        sender.send("audio", 111, payload, sender.origin + sender.ms * 48)
        sender.ms += 20
    return Capture(sender.packets, sender.ms, 111, more={"clean": True, "clock": 48000, "encoding": "opus"})


@capture(
    "speech_pcmu_loss5_jit40_reorder2",
    "5 % lost, 0-40 ms jitter, 2 % swapped with their successor (seeded)",
    "6 s without a break; lost packets concealed, swapped ones put back in order if the buffer still can",
    "RTP-002 RTP-007 RTP-020 RTP-021",
)
def impaired(name):
    sender, random = Sender(name, speech_codes()), Random(4733)
    sender.talk(sound.SPEECH_MS)
    first, *middle, last = sender.packets
    kept = [first] + [packet for packet in middle if random.random() >= 0.05] + [last]
    arrival = 0
    for packet in kept:
        arrival = max(arrival + 100, packet.at_us + int(random.random() * 40_000))
        packet.at_us = arrival
    number = 1
    while number < len(kept) - 2:
        if random.random() < 0.02:
            one, other = kept[number], kept[number + 1]
            one.at_us, other.at_us = other.at_us, one.at_us
            number += 1
        number += 1
    return Capture(kept, sender.ms)


@capture(
    "speech_pcmu_wrap",
    "sequence starts at 65500, timestamp 2 s before 2^32",
    "all of it: both wraps unnoticed",
    "RTP-002 RTP-022",
)
def wrap(name):
    sender = Sender(name, speech_codes())
    sender.sequence, sender.origin = 65500, (1 << 32) - 2 * sound.RATE
    sender.talk(sound.SPEECH_MS)
    return Capture(sender.packets, sender.ms, more={"clean": True})


def gap(name, comfort_noise):
    sender = Sender(name, speech_codes())
    sender.talk(2500)
    if comfort_noise:
        sender.comfort_noise(70)
    sender.pause(800)
    sender.talk(sound.SPEECH_MS - sender.ms, marker=True)
    return Capture(sender.packets, sender.ms)


@capture(
    "speech_pcmu_cn_gap",
    "comfort noise (payload type 13, -70 dBov) at 2.5 s, 800 ms nothing, then speech with M and a timestamp jump",
    "6 s on the time line: 820 ms filled with silence or comfort noise, no loss counted",
    "RTP-005 RTP-006 RTP-007",
)
def cn_gap(name):
    return gap(name, comfort_noise=True)


@capture(
    "speech_pcmu_dtx_nocn",
    "800 ms nothing at 2.5 s without comfort noise: sequence contiguous, timestamp jumps, M on resuming",
    "6 s on the time line: 800 ms filled with silence, no loss counted",
    "RTP-005 RTP-006 RTP-007",
)
def dtx_nocn(name):
    return gap(name, comfort_noise=False)


@capture(
    "speech_pcmu_ssrc_change",
    "at 3 s new SSRC, sequence and timestamp from the same address, M set",
    "6 s without a break; one SSRC change counted, no loss",
    "RTP-003",
)
def ssrc_change(name):
    sender = Sender(name, speech_codes())
    sender.talk(3000)
    sender.rename(name + " second")
    sender.talk(3000, marker=True)
    return Capture(sender.packets, sender.ms, more={"ssrc_changes": 1})


@capture(
    "speech_two_ssrc_interleaved",
    "a low voice from 0 to 4 s, a high voice with another SSRC from 2 to 6 s, 7 ms after each slot",
    "2 s of the low voice, then 4 s of the high one, never mixed; the low voice's last 100 packets dropped",
    "RTP-003",
)
def two_ssrc(name):
    low = Sender(name, speech_codes())
    low.talk(4000)
    high = Sender(name + " second", other_speech_codes(), at_ms=2000)
    high.offset_us = 7000
    high.talk(4000, marker=True)
    return Capture(low.packets + high.packets, high.ms, superseded_packets=100, more={"ssrc_changes": 1})


@capture(
    "speech_pcmu_burst_2s_stall",
    "the packets of 2.0-4.0 s are held by the network and arrive together at 4 s",
    "fill from 2 s on; at 4 s only the newest of the held packets are played, the rest discarded; no delay remains",
    "RTP-007 RTP-024",
)
def burst(name):
    sender = Sender(name, speech_codes())
    sender.talk(sound.SPEECH_MS)
    for place, packet in enumerate(sender.packets[100:200]):
        packet.at_us = 4_000_000 - (100 - place) * 50
    return Capture(sender.packets, sender.ms, more={"stall_ms": 2000, "stalled_packets": 100})


@capture(
    "speech_pcmu_drift_p300ppm",
    "20 s from a sender whose clock is 300 ppm fast: a packet every 19.994 ms",
    "all of it; the delay stays in its band (6 ms too much after 20 s), no clicks",
    "RTP-023",
)
def drift(name):
    sender = Sender(name, speech_codes())
    sender.talk(20_000)
    for packet in sender.packets:
        packet.at_us = packet.at_us * 1_000_000 // 1_000_300
    return Capture(sender.packets, sender.ms, more={"drift_ppm": 300})


@capture(
    "tone_1004hz_pcmu",
    "6 s steady sine of 1004 Hz at -10 dBm0 (peak 7165 of 32768)",
    "a steady tone of RMS 5066 (within 0.1 dB), no step in phase or level at any packet border",
    "RTP-007 RTP-035",
)
def tone(name):
    sender = Sender(name, sound.encode(0, sound.tone(1004, 7165, 6000)))
    sender.talk(6000)
    return Capture(sender.packets, sender.ms, more={"clean": True, "tone_hz": 1004, "tone_peak": 7165})


def digits(name, keys, tone_ms, gap_ms, **press):
    """Speech, then each key with `gap_ms` between the end of one tone and the start of the next, then speech."""
    sender = Sender(name, speech_codes())
    sender.talk(400)
    for key in keys:
        sender.press(key, tone_ms, **press)
        sender.talk(gap_ms - 40, marker=True)
    sender.talk(600)
    told = [(key, tone_ms) for key in keys]
    return Capture(
        sender.packets, sender.ms, digits=told, event_payload_type=press.get("payload_type", 101), event_clock=press.get("clock", 8000)
    )


@capture(
    "dtmf_159pound_pt101",
    "1 5 9 # of 160 ms with 300 ms between, 20 ms updates, three ends with rising sequence",
    "1 5 9 #, 160 ms each, in this order; speech between them",
    "RTP-050 RTP-051 RTP-056 RTP-062",
)
def dtmf_159pound(name):
    return digits(name, "159#", 160, 300)


@capture(
    "dtmf_555_same_digit",
    "5 three times, 80 ms tone and 80 ms gap, new timestamp each",
    "5 5 5, 80 ms each",
    "RTP-053",
)
def dtmf_555(name):
    return digits(name, "555", 80, 80)


@capture(
    "dtmf_8_end_same_seq",
    "8 of 160 ms whose three end packets share one sequence number",
    "one 8 of 160 ms",
    "RTP-052",
)
def dtmf_8(name):
    return digits(name, "8", 160, 200, ends_share_sequence=True)


def one_key(name, key, spoil, known_ms=160):
    """Speech, one key of 160 ms whose packets `spoil(sender, packets)` damages, speech."""
    sender = Sender(name, speech_codes())
    sender.talk(400)
    spoil(sender, sender.press(key, 160))
    sender.talk(800, marker=True)
    return Capture(sender.packets, sender.ms, digits=[(key, known_ms)])


@capture(
    "dtmf_7_end_ts_changes",
    "7 of 160 ms; the copies of the end packet carry timestamps 20 ms (inside) and 180 ms (just after) later",
    "one 7 of 160 ms",
    "RTP-052",
)
def dtmf_7(name):
    def spoil(_, packets):
        packets[-2].timestamp += 160
        packets[-1].timestamp += 1440

    return one_key(name, "7", spoil)


@capture(
    "dtmf_9_end_lost",
    "9 of 160 ms; all three end packets lost",
    "one 9, ended by the audio that resumes or by 200 ms without an event packet; 140 ms known",
    "RTP-054",
)
def dtmf_9(name):
    return one_key(name, "9", lambda sender, packets: sender.lose(packets[-3:]), known_ms=140)


@capture(
    "dtmf_6_reordered",
    "6 of 160 ms; first packet after the second, first end before the last update, that update after the end",
    "one 6 of 160 ms",
    "RTP-051 RTP-052",
)
def dtmf_6(name):
    def spoil(_, packets):
        for one, other in ((0, 1), (6, 7)):
            packets[one].at_us, packets[other].at_us = packets[other].at_us, packets[one].at_us

    return one_key(name, "6", spoil)


@capture(
    "dtmf_star_first_lost",
    "* of 160 ms; the first packet, the only one with M, lost",
    "one * of 160 ms",
    "RTP-051",
)
def dtmf_star(name):
    return one_key(name, "*", lambda sender, packets: sender.lose(packets[:1]))


@capture(
    "dtmf_samets_other_code",
    "1 then 2, 160 ms each, 200 ms between, both with the timestamp of the first",
    "1 2, 160 ms each",
    "RTP-053",
)
def dtmf_samets(name):
    sender = Sender(name, speech_codes())
    sender.talk(400)
    timestamp = sender.origin + sender.ms * 8
    for key in "12":
        sender.press(key, 160, timestamp=timestamp)
        sender.talk(160, marker=True)
    sender.talk(600)
    return Capture(sender.packets, sender.ms, digits=[("1", 160), ("2", 160)])


@capture(
    "dtmf_0_long_10s",
    "0 held for 10 s: duration 0xFFFF without E, then a segment with timestamp + 0xFFFF and M clear",
    "one 0 of 10000 ms",
    "RTP-055",
)
def dtmf_0(name):
    return digits(name, "0", 10_000, 200)


@capture(
    "dtmf_16k_clock",
    "1 2 of 160 ms as telephone-event/16000 beside 8 kHz PCMU, same SSRC",
    "1 2, 160 ms each (2560 ticks)",
    "RTP-056",
)
def dtmf_16k(name):
    return digits(name, "12", 160, 200, clock=16000)


@capture(
    "dtmf_48k_clock",
    "1 2 of 160 ms as telephone-event/48000 beside 8 kHz PCMU, same SSRC",
    "1 2, 160 ms each (7680 ticks)",
    "RTP-056",
)
def dtmf_48k(name):
    return digits(name, "12", 160, 200, clock=48000)


@capture(
    "dtmf_other_ssrc",
    "3 4 with an SSRC, sequence and timestamp of their own, first packet of duration 0, ends sharing one sequence number; "
    "the audio runs on meanwhile",
    "3 4, 160 ms each; the audio state is not reset: no loss, no SSRC change; audio muted during the events",
    "RTP-004 RTP-055 RTP-062",
)
def dtmf_other_ssrc(name):
    audio = Sender(name, speech_codes())
    audio.talk(2000)
    keys = Sender(name + " keys", b"", at_ms=400)
    keys.offset_us = 3000
    for key in "34":
        keys.press(key, 160, zero_first=True, ends_share_sequence=True)
        keys.pause(300)
    more = {"ssrc_changes": 0}
    return Capture(audio.packets + keys.packets, audio.ms, digits=[("3", 160), ("4", 160)], more=more)


@capture(
    "inband_dtmf_1590_pcmu",
    "1 5 9 0 as tones in the audio, 100 ms with 100 ms between, -7 dBm0 a tone, no telephone-event; speech around them",
    "1 5 9 0 where tones are looked for, 100 ms each; nothing else from the speech",
    "RTP-060",
)
def inband_dtmf(name):
    keys, tone_ms, gap_ms = "1590", 100, 100
    speech = sound.speech()
    line = speech[: 1000 * 8]
    for key in keys:
        line += sound.dtmf(key, 10120, tone_ms) + [0] * (gap_ms * 8)
    line += speech[1000 * 8 :]
    sender = Sender(name, sound.encode(0, line))
    sender.talk(len(line) // 8)
    return Capture(sender.packets, sender.ms, digits=[(key, tone_ms) for key in keys], more={"clean": True, "inband": True})
