#!/bin/sh
# Lets tshark judge every capture here against expect.toml. Prints PASS or FAIL per file, exits 1 on any FAIL.
# Needs tshark and Python 3.11 (tomllib). usage: pcap/verify.sh
set -u
cd "$(dirname "$0")" || exit 2
command -v tshark >/dev/null || { echo "tshark is not installed" >&2; exit 2; }
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
failed=0

# One line per capture: file packets lost duplicates reordered ssrcs ptime clean events ends identities noise payload_type event_pt digits
expectations() {
    python3 - <<'PYTHON'
import tomllib
with open("expect.toml", "rb") as file:
    for table in tomllib.load(file).values():
        keys = "file packets lost duplicates reordered ssrcs ptime_ms clean event_packets event_ends event_identities noise_packets payload_type event_payload_type"
        print(*(table[key] for key in keys.split()), table["digits"] or "-")
PYTHON
}

# claim NAME FOUND WANTED: notes a difference.
claim() {
    [ "$2" = "$3" ] || wrong="$wrong; $1 is $2, not $3"
}

dissect() {
    tshark -r "$file" -d udp.port==20000,rtp -o "rtpevent.event_payload_type_value:$event_pt" \
        -o ip.check_checksum:TRUE -o udp.check_checksum:TRUE "$@" 2>/dev/null
}

count() {
    dissect -Y "$1" | wc -l | tr -d ' '
}

# Streams as tshark sees them: number, sum of lost (received twice counts as -1 there), smallest and largest delta.
judge_streams() {
    dissect -q -z rtp,streams | grep '192\.0\.2\.10 40000' >"$work/streams"
    claim streams "$(wc -l <"$work/streams" | tr -d ' ')" "$ssrcs"
    claim lost "$(sed -n 's/.* \(-\{0,1\}[0-9]*\) (-\{0,1\}[0-9.]*%).*/\1/p' "$work/streams" | awk '{ n += $1 } END { print n + 0 }')" \
        "$((lost - duplicates))"
    [ "$clean" = True ] || return 0
    deltas=$(sed 's/.*%)//' "$work/streams" | awk '{ print $1, $2, $3 }')
    claim deltas "$deltas" "$ptime.000 $ptime.000 $ptime.000"
    claim problems "$(grep -c 'X *$' "$work/streams")" 0
}

# Packets behind a higher sequence number of their SSRC, in the order of the file (modulo 2^16).
judge_order() {
    claim reordered "$(dissect -T fields -e rtp.ssrc -e rtp.seq | awk '
        !($1 in top) { top[$1] = $2; next }
        { ahead = ($2 - top[$1] + 65536) % 65536; key = $1 " " $2 }
        ahead > 0 && ahead < 32768 { top[$1] = $2 }
        ahead >= 32768 && !(key in seen) { late++ }
        { seen[key] = 1 }
        END { print late + 0 }')" "$reordered"
}

# The digits in order: a new one for each new (SSRC, timestamp, code).
judge_events() {
    claim "event packets" "$(count rtpevent)" "$events"
    claim "event ends" "$(count 'rtpevent.end_of_event == 1')" "$ends"
    dissect -Y rtpevent -T fields -e rtp.ssrc -e rtp.timestamp -e rtpevent.event_id |
        awk '!seen[$0]++ { printf "%s", substr("0123456789*#ABCD", $3 + 1, 1) }' >"$work/digits"
    found=$(cat "$work/digits")
    claim identities "${#found}" "$identities"
    if [ "$identities" = "${#digits}" ]; then
        claim digits "$found" "$digits"
    else
        claim "digit codes" "$(fold -w1 "$work/digits" | uniq | tr -d '\n')" "$digits"
    fi
}

# One line per whole call: file frames streams packets lost
calls() {
    python3 - <<'PYTHON'
import tomllib
with open("calls.toml", "rb") as file:
    for table in tomllib.load(file).values():
        print(*(table[key] for key in "file frames streams packets lost".split()))
PYTHON
}

verdict() {
    if [ -z "$wrong" ]; then
        echo "PASS $file"
    else
        echo "FAIL $file${wrong#;}"
        failed=1
    fi
}

expectations >"$work/expect" || exit 2
calls >"$work/calls" || exit 2
while read -r file packets lost duplicates reordered ssrcs ptime clean events ends identities noise pt event_pt digits; do
    wrong=
    claim packets "$(count frame)" "$packets"
    claim "RTP packets" "$(count 'rtp.version == 2 && udp.dstport == 20000')" "$packets"
    claim "bad checksums" "$(count 'ip.checksum.status != "Good" || udp.checksum.status != "Good"')" 0
    claim malformed "$(count _ws.malformed)" 0
    claim "audio packets" "$(count "rtp.p_type == $pt")" "$((packets - events - noise))"
    claim "comfort noise" "$(count 'rtp.p_type == 13')" "$noise"
    judge_streams
    judge_order
    # Digits without events are tones in the audio, which tshark does not hear.
    [ "$digits" = - ] || [ "$events" -eq 0 ] || judge_events
    verdict
done <"$work/expect"
event_pt=96
while read -r file frames streams packets lost; do
    wrong=
    claim frames "$(count frame)" "$frames"
    claim "RTP packets" "$(count 'rtp.version == 2 && udp.dstport == 20000')" "$packets"
    claim "bad checksums" "$(count 'ip.checksum.status != "Good" || udp.checksum.status != "Good"')" 0
    claim malformed "$(count _ws.malformed)" 0
    dissect -q -z rtp,streams | grep -E ' (40000|20000) ' >"$work/streams"
    claim streams "$(wc -l <"$work/streams" | tr -d ' ')" "$streams"
    claim lost "$(sed -n 's/.* \(-\{0,1\}[0-9]*\) (-\{0,1\}[0-9.]*%).*/\1/p' "$work/streams" | awk '{ n += $1 } END { print n + 0 }')" "$lost"
    verdict
done <"$work/calls"
exit $failed
