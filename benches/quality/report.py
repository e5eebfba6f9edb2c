#!/usr/bin/env python3
"""`make quality`: speech for the bridge's part before it runs, the judgement after it.

report.py speech FOLDER   writes FOLDER/speech/VOICE_RATE.wav with espeak-ng, or leaves it to the built-in voice
report.py judge FOLDER    reads FOLDER/figures.json and recordings; prints the report, writes report.md and PNG plots.
                          Exit code 1 where a gate is not met.
"""

import json
import multiprocessing
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
from scipy.io import wavfile
from scipy.signal import correlate, resample_poly

RATES = [8000, 16000, 24000, 48000]
VOICES = {
    "anna": (["-v", "en-us+f3", "-s", "155", "-p", "60"], [
        "The parcel was left with the neighbour on the second floor.",
        "Please tell me the last four digits of your order number.",
        "I can move the appointment to Thursday at half past nine.",
    ]),
    "ben": (["-v", "en-gb", "-s", "150", "-p", "40"], [
        "A quick check of the account shows two open invoices.",
        "Would you like me to read the address back to you?",
        "The train to Cambridge leaves from platform six this evening.",
    ]),
    "carl": (["-v", "en-gb-scotland+m3", "-s", "160", "-p", "35"], [
        "Thank you for waiting, a colleague will join us shortly.",
        "My daughter bought these shoes, but the size is wrong.",
        "Just say yes if that is correct, or say the number again.",
    ]),
}
PAUSE_SECONDS = 0.5
# ITU-T P.800's usual level of speech, in dB below overload, over the words alone.
LEVEL_DBOV = -26.0

LOSS_OF_GATE = 5
# Lines that every condition has; the gate's condition has more.
LINES = 2
MOST_BELOW_REFERENCE = 0.05
LEAST_ABOVE_SILENCE = 0.2
TO_BOT_P50, TO_BOT_P99 = 25.0, 45.0
TO_CALLER_MAX = 60.0 + 20.0
# Underruns in 20 s that a bot may come to, in any of its calls.
MOST_UNDERRUNS = {"real time": 0, "burst": 0, "2200-byte": 2, "jitter": 4}


def make_speech(folder):
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.wav"):
        old.unlink()
    if shutil.which("espeak-ng") is None:
        print("espeak-ng is not here: the built-in voice speaks")
        return
    for name, (options, sentences) in VOICES.items():
        spoken = [synthesize(folder, options, sentence) for sentence in sentences]
        level = np.sqrt(np.mean(np.concatenate([part for _, part in spoken]) ** 2))
        for rate in RATES:
            pause = np.zeros(int(PAUSE_SECONDS * rate))
            parts = [pause]
            for source, part in spoken:
                parts += [resample_poly(part, rate, source), pause]
            audio = np.concatenate(parts) * (10 ** (LEVEL_DBOV / 20) * 32768 / level)
            audio = audio[: len(audio) // (rate // 50) * (rate // 50)]
            wavfile.write(folder / f"{name}_{rate}.wav", rate, np.clip(np.round(audio), -32768, 32767).astype(np.int16))


def synthesize(folder, options, sentence):
    path = folder / "sentence.tmp"
    subprocess.run(["espeak-ng", *options, "-w", str(path), sentence], check=True)
    rate, samples = wavfile.read(path)
    path.unlink()
    loud = np.flatnonzero(np.abs(samples) > 100)
    return rate, samples[loud[0] : loud[-1]].astype(np.float64)


def read(path, rate):
    found, samples = wavfile.read(path)
    samples = samples.astype(np.float64)
    return samples if found == rate else resample_poly(samples, rate, found)


def lag(reference, heard, around, reach):
    """By how many samples `heard` is behind `reference`, within `reach` of `around`."""
    correlation = correlate(heard, reference, mode="full", method="fft")
    zero = len(reference) - 1
    low, high = max(0, zero + around - reach), min(len(correlation), zero + around + reach + 1)
    return int(np.argmax(correlation[low:high])) + low - zero


def aligned(reference, heard, rate):
    """`heard` put beside `reference`, a second at a time: a jitter buffer changes its delay in pauses."""
    overall = lag(reference, heard, rate // 2, rate)
    out, step = np.zeros(len(reference)), rate
    for start in range(0, len(reference), step):
        part = reference[start : start + step]
        window = heard[max(0, start + overall - step) : start + overall + 2 * step]
        offset = start + overall - max(0, start + overall - step)
        shift = lag(part, window, offset, rate // 5) if np.any(part) and np.any(window) else offset
        piece = window[max(0, shift) : max(0, shift) + len(part)]
        out[start : start + len(piece)] = piece
    return out


def judge(job):
    """PESQ and STOI of one recording against what was said."""
    folder, take = job
    from pesq import NoUtterancesError, pesq
    from pystoi import stoi

    rate, mode = (8000, "nb") if take["rate"] == 8000 else (16000, "wb")
    said = read(folder / "speech" / f"{take['voice']}_{rate}.wav", rate)
    heard = read(folder / "heard" / take["file"], rate)
    try:
        quality = pesq(rate, said / 32768, heard / 32768, mode)
    except NoUtterancesError:
        quality = float("nan")
    return {**take, "pesq": float(quality), "stoi": float(stoi(said, aligned(said, heard, rate), rate))}


class Sound:
    """Means over voices and lines."""

    def __init__(self, takes):
        by = defaultdict(list)
        for take in takes:
            by[take["codec"], take["way"], take["loss_percent"], take["jitter_ms"]].append(take)
        self.by = by
        self.codecs = list(dict.fromkeys(take["codec"] for take in takes))
        self.voices = list(dict.fromkeys(take["voice"] for take in takes))
        self.losses = sorted({take["loss_percent"] for take in takes})
        self.jitters = sorted({take["jitter_ms"] for take in takes})
        self.mode = {take["codec"]: "nb" if take["rate"] == 8000 else "wb" for take in takes}

    def mean(self, measure, codec, way, loss=0, jitter=0):
        found = [take[measure] for take in self.by[codec, way, loss, jitter] if take["line"] <= LINES]
        return float(np.mean(found)) if found else float("nan")

    def above_silence(self, codec, loss):
        """Mean and standard error of what concealment gains, line by line, without jitter."""
        ways = [{(take["voice"], take["line"]): take["pesq"] for take in self.by[codec, way, loss, 0]}
                for way in ("bridge", "silence")]
        gains = [ways[0][line] - ways[1][line] for line in ways[0]]
        return float(np.mean(gains)), float(np.std(gains, ddof=1) / np.sqrt(len(gains)))


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]) + "\n"


def sound_tables(sound):
    parts = []
    for codec in sound.codecs:
        parts.append(f"### {codec} (PESQ {sound.mode[codec]})\n")
        rows = [["the codec twice, no network", "", two(sound, codec, "reference", 0, 0), "", ""]]
        for loss in sound.losses:
            cells = [two(sound, codec, "bridge", loss, jitter) for jitter in sound.jitters]
            rows.append([f"{loss} %", two(sound, codec, "silence", loss, 0) if loss else "", *cells])
        heads = [f"bridge, {jitter} ms jitter" for jitter in sound.jitters]
        parts.append(table(["loss", "silence for what is lost", *heads], rows))
    return "\n".join(parts)


def two(sound, codec, way, loss, jitter):
    return f"{sound.mean('pesq', codec, way, loss, jitter):.2f} / {sound.mean('stoi', codec, way, loss, jitter):.3f}"


def delay_table(figures):
    rows = figures["to_bot"] + figures["to_caller"]
    cells = [[row["what"], f"{row['p50']:.1f}", f"{row['p99']:.1f}", f"{row['max']:.1f}", row["count"]] for row in rows]
    return table(["added delay", "p50, ms", "p99, ms", "most, ms", "measured"], cells)


def bot_table(figures):
    rows = [
        [bot["bot"], bot["underruns"], bot["gaps"], f"{bot['gap_ms']:.1f}", bot["clicks"], bot["lost"],
         f"{bot['start_ms']:.0f}", f"{bot['queue_max_ms'] / 1000:.2f}"]
        for bot in figures["bots"]
    ]
    heads = ["bot", "underruns", "gaps", "silence in gaps, ms", "clicks", "samples lost", "starts after, ms", "queue, s"]
    return table(heads, rows)


def gates(figures, sound):
    """(what, measured, wanted, met)"""
    found = []
    for codec in sound.codecs:
        below = sound.mean("pesq", codec, "reference") - sound.mean("pesq", codec, "bridge")
        found.append((f"{codec}: PESQ below the codec twice, no loss", f"{below:.3f}", f"≤ {MOST_BELOW_REFERENCE}",
                      below <= MOST_BELOW_REFERENCE))
    for codec in sound.codecs:
        above, error = sound.above_silence(codec, LOSS_OF_GATE)
        found.append((f"{codec}: PESQ above silence at {LOSS_OF_GATE} % loss", f"{above:.2f} ± {error:.2f}",
                      f"≥ {LEAST_ABOVE_SILENCE}", above >= LEAST_ABOVE_SILENCE))
    for row in figures["to_bot"]:
        if " 0 ms jitter" in row["what"]:
            for name, most in (("p50", TO_BOT_P50), ("p99", TO_BOT_P99)):
                found.append((f"{row['what']}: {name}", f"{row[name]:.1f} ms", f"≤ {most:.0f} ms", row[name] <= most))
    for row in figures["to_caller"]:
        found.append((f"{row['what']}: most", f"{row['max']:.1f} ms", f"≤ {TO_CALLER_MAX:.0f} ms",
                      row["max"] <= TO_CALLER_MAX))
    for bot in figures["bots"]:
        faults = bot["clicks"] + bot["lost"]
        found.append((f"bot, {bot['bot']}: clicks and samples lost", str(faults), "0", faults == 0))
        most = next((most for name, most in MOST_UNDERRUNS.items() if bot["bot"].startswith(name)), None)
        if most is not None:
            found.append((f"bot, {bot['bot']}: underruns in 20 s", str(bot["underruns"]), f"≤ {most}",
                          bot["underruns"] <= most))
    return found


def plots(folder, figures, sound):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    for measure, label, low in (("pesq", "PESQ", 1.0), ("stoi", "STOI", None)):
        figure, axes = plt.subplots(1, len(sound.codecs), figsize=(4.2 * len(sound.codecs), 4.2), sharey=True,
                                    squeeze=False, layout="constrained")
        for axis, codec in zip(axes[0], sound.codecs):
            axis.axhline(sound.mean(measure, codec, "reference"), color="grey", linestyle=":", label="codec twice")
            for jitter in sound.jitters:
                values = [sound.mean(measure, codec, "bridge", loss, jitter) for loss in sound.losses]
                size = 9 - 2.5 * sound.jitters.index(jitter)  # one line may lie on another
                axis.plot(sound.losses, values, marker="o", markersize=size, linewidth=size / 3,
                          label=f"bridge, {jitter} ms jitter")
            values = [sound.mean(measure, codec, "silence", loss) for loss in sound.losses if loss]
            axis.plot([loss for loss in sound.losses if loss], values, marker="x", linestyle="--", color="black",
                      label="silence for what is lost")
            axis.set(title=f"{codec} ({sound.mode[codec]})", xlabel="loss, %", xticks=sound.losses)
            axis.grid(alpha=0.3)
        axes[0][0].set_ylabel(label)
        if low:
            axes[0][0].set_ylim(low, 4.7)
        axes[0][0].legend(fontsize="small")
        figure.savefig(folder / f"{measure}.png", dpi=110)
    delay_plot(plt, folder, figures)
    bot_plot(plt, folder, figures)


def delay_plot(plt, folder, figures):
    rows = figures["to_bot"] + figures["to_caller"]
    figure, axis = plt.subplots(figsize=(8, 0.55 * len(rows) + 1.2), layout="constrained")
    places = np.arange(len(rows))
    axis.barh(places - 0.2, [row["p50"] for row in rows], height=0.4, label="p50")
    axis.barh(places + 0.2, [row["p99"] for row in rows], height=0.4, label="p99")
    axis.set(yticks=places, yticklabels=[row["what"] for row in rows], xlabel="added delay, ms")
    axis.invert_yaxis()
    axis.legend()
    axis.grid(axis="x", alpha=0.3)
    figure.savefig(folder / "delay.png", dpi=110)


def bot_plot(plt, folder, figures):
    bots = figures["bots"]
    figure, axes = plt.subplots(1, 2, figsize=(11, 0.45 * len(bots) + 1.2), sharey=True, layout="constrained")
    places = np.arange(len(bots))
    axes[0].barh(places - 0.2, [bot["underruns"] for bot in bots], height=0.4, label="underruns")
    axes[0].barh(places + 0.2, [bot["clicks"] for bot in bots], height=0.4, label="clicks")
    axes[0].set(yticks=places, yticklabels=[bot["bot"] for bot in bots], xlabel="in 20 s of speech, worst call")
    axes[0].legend()
    axes[1].barh(places, [bot["gap_ms"] for bot in bots], color="tab:red")
    axes[1].set(xlabel="silence in gaps, ms of 20 s, worst call")
    axes[0].invert_yaxis()
    for axis in axes:
        axis.grid(axis="x", alpha=0.3)
    figure.savefig(folder / "bots.png", dpi=110)


def report(folder):
    figures = json.loads((folder / "figures.json").read_text())
    with multiprocessing.Pool(2) as pool:
        takes = pool.map(judge, [(folder, take) for take in figures["takes"]], chunksize=4)
    sound = Sound(takes)
    built_in = sound.voices[0].startswith("builtin")
    judged = gates(figures, sound)
    failed = [gate for gate in judged if not gate[3]]
    text = "\n".join([
        "# Quality\n",
        f"Speech: {', '.join(sound.voices)}, {'the built-in voice' if built_in else 'espeak-ng'}. Everything in virtual "
        "time: real media and stream sessions, a caller, a line, a bot. Delay, loss and jitter are the line's towards the "
        "bridge; jitter is uniform, packets overtake.\n",
        "## Speech: caller, bridge, echo bot, bridge, caller\n",
        "PESQ / STOI against what was said, means over the voices with two lines each. Which packets are lost moves PESQ: the "
        "gate at 5 % loss is about 14 lines a voice, with the standard error of its mean behind ±.\n",
        sound_tables(sound),
        "## Delay\n",
        "Caller to bot: from the arrival of a packet to the message that it completes, 50 calls of 20 s. "
        "Bot to RTP: from the first message of a turn to its first packet.\n",
        delay_table(figures),
        "## Bots\n",
        "20 s of a tone, 10 calls each, the worst call in each column.\n",
        bot_table(figures),
        "## Gates\n",
        table(["what", "measured", "wanted", ""], [[*gate[:3], "met" if gate[3] else "**not met**"] for gate in judged]),
    ])
    (folder / "report.md").write_text(text)
    (folder / "judged.json").write_text(json.dumps(takes, indent=1))
    plots(folder, figures, sound)
    print(text)
    print(f"written: {folder}/report.md, pesq.png, stoi.png, delay.png, bots.png, judged.json")
    for what, measured, wanted, _ in failed:
        print(f"NOT MET: {what}: {measured}, wanted {wanted}", file=sys.stderr)
    print(f"{len(judged) - len(failed)} of {len(judged)} gates met")
    return 1 if failed else 0


def main():
    match sys.argv[1:]:
        case ["speech", folder]:
            make_speech(Path(folder) / "speech")
            return 0
        case ["judge", folder]:
            return report(Path(folder))
        case _:
            print(__doc__, file=sys.stderr)
            return 2


if __name__ == "__main__":
    sys.exit(main())
