"""G.722 at 64 kbit/s from 16 kHz samples, by ITU-T G.722 clauses 3 and 5: an octet for two samples."""

# Decision levels (LL6), outputs of the lower quantiser by its upper 4 bits (QQ4), what they do to the scale factor (WL).
LEVELS = (35, 72, 110, 150, 190, 233, 276, 323, 370, 422, 473, 530, 587, 650, 714, 786, 858, 940, 1023, 1121, 1219, 1339)
LEVELS += (1458, 1612, 1765, 1980, 2195, 2557, 2919)
LOWER = (0, -20456, -12896, -8968, -6288, -4240, -2584, -1200, 20456, 12896, 8968, 6288, 4240, 2584, 1200, 0)
LOWER_MOVES = (-60, 3042, 1198, 538, 334, 172, 58, -30, 3042, 1198, 538, 334, 172, 58, -30, -60)
UPPER, UPPER_MOVES, UPPER_LEVEL = (-7408, -1616, 7408, 1616), (798, -214, 798, -214), 564
POWERS = (2048, 2093, 2139, 2186, 2233, 2282, 2332, 2383, 2435, 2489, 2543, 2599, 2656, 2714, 2774, 2834, 2896, 2960)
POWERS += (3025, 3091, 3158, 3228, 3298, 3371, 3444, 3520, 3597, 3676, 3756, 3838, 3922, 4008)
MIRROR = (3, -11, 12, 32, -210, 951, 3876, -805, 362, -156, 53, -11)


def limit(value):
    return max(-32768, min(32767, value))


class Band:
    """Predictor and scale factor of one band."""

    def __init__(self, factor, most, shift):
        self.factor, self.logarithm, self.most, self.shift = factor, 0, most, shift
        self.expected = self.by_zeroes = self.sample = 0
        self.poles, self.partial, self.zeroes, self.past = (0, 0), (0, 0), [0] * 6, [0] * 6

    def error(self, sample):
        """Whether the difference to what is expected is negative, and its size in one's complement."""
        error = limit(sample - self.expected)
        return error < 0, ~error if error < 0 else error

    def follow(self, output, move):
        difference = self.factor * output >> 15
        self.logarithm = max(0, min(self.most, (self.logarithm * 127 >> 7) + move))
        power, shift = POWERS[self.logarithm >> 6 & 31], self.shift - (self.logarithm >> 11)
        self.factor = (power << -shift if shift < 0 else power >> shift) << 2
        self.predict(difference)

    def predict(self, difference):
        sample, partial = limit(self.expected + difference), limit(self.by_zeroes + difference)
        (first, second), (before, earlier) = self.poles, self.partial
        turn = limit(first << 2)
        turn = min(-turn, 32767) if (partial < 0) == (before < 0) else turn
        move = 128 if (partial < 0) == (earlier < 0) else -128
        second = max(-12288, min(12288, (turn >> 7) + move + (second * 32512 >> 15)))
        move, bound = 192 if (partial < 0) == (before < 0) else -192, 15360 - second
        first = max(-bound, min(bound, move + (first * 32640 >> 15)))
        step = 128 if difference else 0
        for n, past in enumerate(self.past):
            move = step if (past < 0) == (difference < 0) else -step
            self.zeroes[n] = limit(move + (self.zeroes[n] * 32640 >> 15))
        self.past = [difference] + self.past[:5]
        by_poles = limit((first * limit(2 * sample) >> 15) + (second * limit(2 * self.sample) >> 15))
        self.by_zeroes = limit(sum(zero * limit(2 * past) >> 15 for zero, past in zip(self.zeroes, self.past)))
        self.expected = limit(by_poles + self.by_zeroes)
        self.sample, self.partial, self.poles = sample, (partial, before), (first, second)


def encode(samples):
    """The octets of `samples`, an even number of them."""
    lower, upper, line = Band(32, 18432, 8), Band(8, 22528, 10), [0] * 24
    octets = bytearray()
    for at in range(0, len(samples), 2):
        line = line[2:] + [samples[at], samples[at + 1]]
        one = sum(tap * value for tap, value in zip(MIRROR, line[::2]))
        other = sum(tap * value for tap, value in zip(reversed(MIRROR), line[1::2]))
        negative, size = lower.error((other + one) >> 14)
        passed = sum(level * lower.factor >> 12 <= size for level in LEVELS)
        low = 61 - passed if not negative else 63 - passed if passed < 2 else 33 - passed
        negative, size = upper.error((other - one) >> 14)
        large = size >= UPPER_LEVEL * upper.factor >> 12
        high = (0 if large else 1) + (0 if negative else 2)
        lower.follow(LOWER[low >> 2], LOWER_MOVES[low >> 2])
        upper.follow(UPPER[high], UPPER_MOVES[high])
        octets.append(high << 6 | low)
    return bytes(octets)
