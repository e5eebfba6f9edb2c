"""Test signals at 8 kHz and their G.711 codes.

Speech here is not a recording: harmonics of a moving pitch under three moving formants, cut into syllables and
phrases, with noise at some syllable starts. So there is no licence to mind. Oscillators are integer phase
accumulators over one rounded sine table, and the rest is plain IEEE arithmetic: every machine makes the same bytes.
"""

import math

RATE = 8000
SPEECH_MS = 6000
SILENCE_CODE = {0: 0xFF, 8: 0xD5}

TABLE_BITS = 12
SINE = [round(32767 * math.sin(2 * math.pi * i / (1 << TABLE_BITS))) for i in range(1 << TABLE_BITS)]

# Formant frequencies in Hz and bandwidths of a few vowels (adult voice, textbook values).
VOWELS = [(730, 1090, 2440), (530, 1840, 2480), (270, 2290, 3010), (570, 840, 2410), (300, 870, 2240), (660, 1720, 2410)]
BANDWIDTHS = (90, 110, 170)
WEIGHTS = (1.0, 0.6, 0.3)

# (start, end) of the phrases in ms. The long pause from 2400 to 3400 holds the comfort-noise and DTX gaps.
PHRASES = ((140, 1260), (1400, 2400), (3400, 4560), (4720, 5860))
SYLLABLE_MS = 240


class Noise:
    """Deterministic white noise in -1..1 (a 32-bit linear congruential generator)."""

    def __init__(self, seed):
        self.state = seed

    def next(self):
        self.state = (self.state * 1664525 + 1013904223) & 0xFFFFFFFF
        return (self.state >> 8) / 8388608.0 - 1.0


def phase_step(hz):
    """Step of a 32-bit phase accumulator for `hz` at 8 kHz."""
    return int(hz * 4294967296 / RATE)


def sine(phase):
    return SINE[(phase & 0xFFFFFFFF) >> (32 - TABLE_BITS)]


def tone(hz, peak, ms):
    """A steady sine; `peak` in 16-bit steps."""
    step = phase_step(hz)
    return [round(peak * sine(n * step) / 32767) for n in range(ms * RATE // 1000)]


DTMF_ROWS, DTMF_COLUMNS = (697, 770, 852, 941), (1209, 1336, 1477, 1633)


def dtmf(key, peak, ms):
    """The two tones of a key (ITU-T Q.23), each with this peak."""
    row, column = divmod("123A456B789C*0#D".index(key), 4)
    low, high = tone(DTMF_ROWS[row], peak, ms), tone(DTMF_COLUMNS[column], peak, ms)
    return [a + b for a, b in zip(low, high)]


def formant_gain(hz, formants):
    gain = 0.004
    for centre, width, weight in zip(formants, BANDWIDTHS, WEIGHTS):
        off = (hz - centre) / width
        gain += weight / (1.0 + off * off)
    return gain


def syllable_envelope(at_ms, length_ms):
    """0..1: 30 ms attack, flat, 60 ms decay."""
    return max(0.0, min(1.0, at_ms / 30.0, (length_ms - at_ms) / 60.0))


def phrase(start_ms, end_ms, pitch, first_vowel, noise):
    """One phrase: syllables whose formants glide from a vowel to the next, the pitch falling by a quarter."""
    samples, phases = [], [0] * 40
    total = end_ms - start_ms
    for block in range(total // 5):
        at = block * 5
        number, within = divmod(at, SYLLABLE_MS)
        length = min(SYLLABLE_MS, total - number * SYLLABLE_MS) - 20
        glide = within / SYLLABLE_MS
        here = VOWELS[(first_vowel + 2 * number) % len(VOWELS)]
        there = VOWELS[(first_vowel + 2 * number + 1) % len(VOWELS)]
        formants = [a + (b - a) * glide for a, b in zip(here, there)]
        f0 = pitch * (1.0 - 0.25 * at / total) * (1.06 - 0.12 * abs(glide - 0.4))
        voices = [(phase_step(k * f0), formant_gain(k * f0, formants)) for k in range(1, int(3400 / f0) + 1)]
        fricative = 0.9 if number % 2 == 0 and within < 45 else 0.0
        level = syllable_envelope(within, length)
        samples += block_samples(voices, phases, level, fricative, noise)
    return samples


def block_samples(voices, phases, level, fricative, noise):
    """5 ms of sound; `phases` runs on."""
    out, last = [], 0.0
    for _ in range(RATE // 200):
        value = 0.0
        for k, (step, gain) in enumerate(voices):
            phases[k] = (phases[k] + step) & 0xFFFFFFFF
            value += gain * SINE[phases[k] >> (32 - TABLE_BITS)]
        hiss = noise.next()
        value = value / 32767.0 * (1.0 - fricative) + fricative * 0.8 * (hiss - last)
        last = hiss
        out.append(level * value)
    return out


def speech(pitch=118.0, seed=1):
    """Six seconds of speech-like sound as 16-bit samples, peak 12000 (about -5 dBm0)."""
    noise = Noise(seed)
    wave = [0.0] * (SPEECH_MS * RATE // 1000)
    for number, (start, end) in enumerate(PHRASES):
        part = phrase(start, end, pitch * (1.0 + 0.05 * (number % 2)), number + seed, noise)
        begin = start * RATE // 1000
        wave[begin : begin + len(part)] = part
    loudest = max(abs(value) for value in wave)
    # A room is never silent: noise of about -70 dBm0 under everything.
    return [round(12000 * value / loudest + 8 * noise.next()) for value in wave]


def at_16_khz(samples):
    """The same at twice the rate: between two samples their cubic mean. Images below 4 kHz stay, a little of the sound above."""
    around = [0] + list(samples) + [0, 0]
    out = []
    for n in range(1, len(samples) + 1):
        before, here, after, later = around[n - 1 : n + 3]
        out += [here, limit((9 * (here + after) - before - later + 8) >> 4)]
    return out


def limit(value):
    return max(-32768, min(32767, value))


def ulaw(sample):
    """16-bit sample to G.711 mu-law, formula of ITU-T G.191."""
    magnitude = min((~sample >> 2 if sample < 0 else sample >> 2) + 33, 0x1FFF)
    segment = (magnitude >> 6).bit_length() + 1
    code = (8 - segment) << 4 | 0xF - (magnitude >> segment & 0xF)
    return code if sample < 0 else code | 0x80


def alaw(sample):
    """16-bit sample to G.711 A-law, formula of ITU-T G.191."""
    code = ~sample >> 4 if sample < 0 else sample >> 4
    if code > 15:
        exponent = 1
        while code > 31:
            code >>= 1
            exponent += 1
        code += (exponent << 4) - 16
    return (code if sample < 0 else code | 0x80) ^ 0x55


def encode(payload_type, samples):
    """G.711 codes of `samples`: payload type 0 is PCMU, 8 is PCMA (RFC 3551 section 6)."""
    return bytes(map({0: ulaw, 8: alaw}[payload_type], samples))
