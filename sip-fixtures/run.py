#!/usr/bin/env python3
"""Runs the scenarios of scenarios.toml: bridge, test bot, SIPp, and the verdict on each.

In the scenarios of uas/ SIPp is called, by `trunkstream call` or by the bridge itself. In all others it calls:
for every scenario a bot with its mode is started, SIPp plays the PBX, then three things are looked at: SIPp's exit code, the
bot's journal against expect/NAME.json, and where the table has "judge" lines the RTP in a capture of the loopback interface.
A bridge is started once for each configuration and lane. A lane is a set of ports of its own; lanes work side by side, and
scenarios that want the machine for themselves come last.
Everything is on loopback, every process ends by a deadline, and all of them end with this one.
"""

import argparse
import atexit
import fcntl
import os
import queue
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
import urllib.request
from pathlib import Path

from compare import compare
from judge import judge
from load import Load

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
LOCK = threading.Lock()
RUNNING = set()


class Failure(Exception):
    """Why a scenario failed, in one line."""


def start(command, log, **options):
    """A process whose output goes to a file and which ends with this one."""
    with open(log, "ab") as out:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=ROOT, start_new_session=True, **options)
    with LOCK:
        RUNNING.add(process)
    return process


def stop(process, how=signal.SIGTERM, patience=5.0):
    """Ends a process and the children it may have."""
    if process is None:
        return
    if process.poll() is None:
        process.send_signal(how)
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            pass
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except OSError:
        pass
    process.wait()
    with LOCK:
        RUNNING.discard(process)


@atexit.register
def stop_all():
    for process in list(RUNNING):
        stop(process, signal.SIGKILL, 1)


def until(condition, seconds, what):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise Failure(f"{what} within {seconds:g} s")
        time.sleep(0.02)


def listens(host, port):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.settimeout(0.2)
        return probe.connect_ex((host, port)) == 0


def tail(path, pattern=None):
    """The last line of a file that says something."""
    try:
        lines = [line.strip() for line in path.read_text(errors="replace").splitlines() if line.strip()]
    except OSError:
        return ""
    lines = [line for line in lines if not pattern or re.search(pattern, line)]
    return lines[-1][:300] if lines else ""


class Lane:
    """A set of ports, the bridge that runs on them, and what is done there one after the other."""

    def __init__(self, number, binary, folder, blocks=1):
        block, self.claims = free_blocks(blocks)
        base, slab, end = 5100 + block * 100, 10000 + block * 1600, 10000 + (block + blocks) * 1600
        self.binary, self.folder = binary, folder / f"lane{number}"
        self.sip, self.admin, self.bot, self.pbx = base, base + 2, base + 3, base + 10
        self.rtp, self.media = (slab, end - 601), end - 600
        self.turn = 0
        self.bridge, self.config, self.moved = None, None, ()
        self.folder.mkdir(parents=True)

    # ---- the bridge

    def want(self, config, fresh):
        """A live bridge with this configuration."""
        if self.bridge and self.bridge.poll() is None and self.config == config and not fresh:
            return
        self.end_bridge()
        path = self.write_config(config)
        log = self.folder / f"bridge-{config}.log"
        self.bridge = start([self.binary, "serve", "--config", str(path)], log)
        self.config = config

        def ready():
            if self.bridge.poll() is not None:
                raise Failure(f"the bridge ended with {self.bridge.returncode}: {tail(log)}")
            return listens("127.0.0.1", self.admin)

        until(ready, 15, "the bridge's admin port did not open")

    def make_certificate(self):
        """sip.pem and sip.key in the lane's folder, for 127.0.0.1."""
        where = ["-keyout", str(self.folder / "sip.key"), "-out", str(self.folder / "sip.pem")]
        names = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"]
        made = subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *where, *names], capture_output=True, text=True)
        if made.returncode:
            raise Failure(f"openssl: {made.stderr.strip()}")

    def end_bridge(self):
        if self.bridge:
            self.bridge.poll() is None and self.bridge.send_signal(signal.SIGTERM)
            time.sleep(0.2)
            stop(self.bridge, signal.SIGTERM, 1)      # a second SIGTERM ends it at once
        self.bridge, self.config = None, None

    def bridge_files(self):
        return len(os.listdir(f"/proc/{self.bridge.pid}/fd"))

    # ---- one scenario

    def run(self, name, row):
        """Plays it and judges it; figures worth a line."""
        self.turn += 1
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        if "uas" in row:
            return self.called(name, row, folder)
        self.want(row.get("config", "default"), row.get("fresh", False))
        bot = capture = background = load = None
        try:
            before = self.bridge_files()
            bot = self.start_bot(row, folder)
            capture = self.start_capture(row, folder)
            if "background" in row:
                other = TABLE[row["background"]]
                background = start(self.sipp(row["background"], other, folder, 1), folder / "background.log")
                time.sleep(8)
            if "load" in row:
                load = Load(self.bridge.pid, self.admin, self.rtp, folder, row["load"])
                self.play(name, {**row, "sipp": row["sipp"] + row["load"]["warm_up"]}, folder)
                load.begin(self.folder / "calls.jsonl")
            self.play(name, row, folder)
            stop(capture, signal.SIGINT)
            stop(background)
            if bot:
                time.sleep(0.4)             # the last journal lines
            if self.bridge.poll() is not None and not row.get("fresh"):
                raise Failure(f"the bridge ended with {self.bridge.returncode}: {tail(self.folder / f'bridge-{self.config}.log')}")
            self.look(name, row, folder)
            self.count(row.get("counts", {}))
            if load:
                wrong, figures = load.verdict(row["calls"])
                if wrong:
                    raise Failure("; ".join(wrong) + f" ({figures})")
                return figures
            if row.get("leak"):
                time.sleep(40)
                if self.bridge_files() > before + 8:
                    raise Failure(f"the bridge has {self.bridge_files()} open files 40 s later, {before} before")
            return ""
        finally:
            load and load.end()
            for process, how in ((capture, signal.SIGINT), (background, signal.SIGTERM), (bot, signal.SIGTERM)):
                stop(process, how, 2)
            if row.get("fresh"):
                self.end_bridge()

    # ---- SIPp is called: by `trunkstream call`, or by a bridge that looks after its trunk

    def called(self, name, row, folder):
        """Starts one SIPp for each destination, lets the call or the bridge come, and looks at what both say."""
        first = self.pbx + self.turn * 4 % 76
        config = self.write_config(row["config"], ((":5071", f":{first}"), (":5072", f":{first + 1}")))
        callees = []
        try:
            for at, scenario in enumerate(row["uas"]):
                callees.append(self.start_callee(scenario, first + at, folder, row))
            if "call" in row:
                self.place(config, row, folder)
            else:
                self.serve_once(row, callees[0], folder)
            for scenario, callee in zip(row["uas"], callees):
                try:
                    code = callee.wait(8)
                except subprocess.TimeoutExpired:
                    raise Failure(f"SIPp as {scenario} did not end in time") from None
                if code:
                    raise Failure(f"SIPp as {scenario}: exit code {code}: {first_error(folder / f'errors-{scenario}.log')}")
            return ""
        finally:
            for callee in callees:
                stop(callee, signal.SIGKILL, 1)
            self.end_bridge()

    def start_callee(self, scenario, port, folder, row):
        command = ["sipp", "-sf", f"sip-fixtures/uas/{scenario}.xml", "-i", "127.0.0.1", "-p", str(port), "-mp", str(self.media + port % 50 * 4), "-m", "1", "-nostdin"]
        command += ["-key", "next", str(port + 1), "-timeout", f"{row.get('timeout', 20)}s", "-timeout_error", *row.get("sipp", [])]
        command += ["-trace_err", "-error_file", str(folder / f"errors-{scenario}.log"), "-trace_msg", "-message_file", str(folder / f"messages-{scenario}.log")]
        callee = start(command, folder / f"callee-{scenario}.log")
        until(lambda: callee.poll() is not None or port in used_ports("udp"), 5, f"SIPp as {scenario} does not listen")
        return callee

    def place(self, config, row, folder):
        """`trunkstream call`, its exit code and what it prints."""
        log = folder / "call.log"
        command = [self.binary, "call", "1000", "--config", str(config), "--trunk", "pbx", "--play", "silence", "--duration", "1", *row["call"]]
        call = start(command, log)
        try:
            code = call.wait(row.get("timeout", 20))
        except subprocess.TimeoutExpired:
            raise Failure("the call did not end in time") from None
        finally:
            stop(call, signal.SIGKILL, 1)
        printed = log.read_text(errors="replace")
        missing = [what for what in row.get("says", []) if not re.search(what, printed)]
        if missing or code != row.get("exit", 0):
            raise Failure(f"the call ended with {code} and did not say {missing}: {tail(log, 'call  ') or tail(log)}")

    def serve_once(self, row, callee, folder):
        """A bridge of its own: what it tells of its trunk, and how it takes leave."""
        self.want(row["config"], True)

        def told():
            page = urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/metrics", timeout=2).read().decode()
            return all(line in page.splitlines() for line in row["metrics"])

        until(told, 8, f"the metrics do not say {row['metrics']}")
        self.bridge.send_signal(signal.SIGTERM)
        until(lambda: self.bridge.poll() is not None, 8, "the bridge did not stop")

    def write_config(self, config, further=()):
        """The configuration with this lane's ports."""
        text = (HERE / "config" / f"{config}.toml").read_text()
        ports = ((":5060", f":{self.sip}"), (":5061", f":{self.sip + 1}"), (":9001", f":{self.bot}"), (":9090", f":{self.admin}"), ("10000-29999", f"{self.rtp[0]}-{self.rtp[1]}"))
        files = [(f"/tmp/trunkstream-{name}", str(self.folder / name)) for name in ("calls.jsonl", "sip.pem", "sip.key")]
        self.moved = further or self.moved
        if "/tmp/trunkstream-sip.pem" in text:
            self.make_certificate()
        for old, new in (*ports, *self.moved, *files):
            text = text.replace(old, new)
        path = self.folder / f"{config}.toml"
        path.write_text(text)
        return path

    def count(self, most):
        """No metric is above what the row allows."""
        if not most:
            return
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/metrics", timeout=5) as answer:
            page = answer.read().decode()
        for name, allowed in most.items():
            found = sum(float(value) for value in re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)$", page, re.MULTILINE))
            if found > allowed:
                raise Failure(f"{name} is {found:g}, {allowed:g} is allowed")

    def start_bot(self, row, folder):
        if row["bot"] == "none":
            return None
        host = "::1" if row.get("ipv6") else "127.0.0.1"
        address = f"[{host}]:{self.bot}" if ":" in host else f"{host}:{self.bot}"
        command = [self.binary, "bot", "--listen", address, "--mode", row["bot"], "--journal", str(folder / "journal.jsonl"), *row.get("bot_args", [])]
        bot = start(command, folder / "bot.log")

        def ready():
            if bot.poll() is not None:
                raise Failure(f"the bot ended with {bot.returncode}: {tail(folder / 'bot.log')}")
            return listening(self.bot)

        try:
            until(ready, 5, "the bot does not listen")
        except Failure:
            stop(bot)
            raise
        return bot

    def start_capture(self, row, folder):
        if not row.get("judge"):
            return None
        wanted = f"udp and (port {self.sip} or portrange {self.rtp[0]}-{self.rtp[1]})"
        log = folder / "dumpcap.log"
        capture = start(["dumpcap", "-q", "-P", "-i", "lo", "-f", wanted, "-w", str(folder / "lo.pcap"), "-a", "duration:120"], log)
        until(lambda: capture.poll() is not None or "File:" in log.read_text(errors="replace"), 10, "dumpcap did not start")
        if capture.poll() is not None:
            raise Failure(f"dumpcap: {tail(log)}")
        time.sleep(0.1)
        return capture

    def sipp(self, name, row, folder, offset=0):
        seconds = row.get("timeout", 20)
        address = "::1" if row.get("ipv6") else "127.0.0.1"
        command = ["sipp", "-sf", f"sip-fixtures/{file_of(name)}.xml", f"[{address}]:{self.sip}" if ":" in address else f"{address}:{self.sip}"]
        arguments = [str(self.bridge.pid) if argument == "PID" else argument for argument in row.get("sipp", [])]
        if "-i" not in arguments:
            command += ["-i", address]
        command += ["-p", str(self.pbx + (self.turn * 2 + offset) % 80), "-mp", str(self.media + (self.turn + offset) * 10 % 100)]
        if row.get("service", "1000"):
            command += ["-s", row.get("service", "1000")]
        if "csv" in row:
            command += ["-inf", f"sip-fixtures/csv/{row['csv']}"]
        calls = row.get("calls", 1)
        command += ["-m", str(calls)] + (["-l", "1"] if "csv" in row else [])
        suffix = f"-{name}"
        command += ["-nostdin", "-trace_err", "-error_file", str(folder / f"errors{suffix}.log"), "-timeout", f"{seconds}s", "-timeout_error"]
        if calls <= 20:
            command += ["-trace_msg", "-message_file", str(folder / f"messages{suffix}.log")]
        return command + arguments

    def play(self, name, row, folder):
        """SIPp, or raw/send.py; a Failure when it is not content."""
        if "raw" in row:
            command = [sys.executable, "sip-fixtures/raw/send.py", f"sip-fixtures/raw/{row['raw']}", "--to", f"127.0.0.1:{self.sip}", *row["args"]]
        elif "call" in row:
            # SIPp as Debian builds it has no TLS.
            uri = f"sip:1000@127.0.0.1:{self.sip + 1};transport=tls"
            command = [self.binary, "call", uri, "--ca", str(self.folder / "sip.pem"), *row["call"]]
        else:
            command = self.sipp(name, row, folder)
        player = start(command, folder / "player.log")
        try:
            code = player.wait(row.get("timeout", 20) + 5)
        except subprocess.TimeoutExpired:
            raise Failure("SIPp did not end in time") from None
        finally:
            stop(player, signal.SIGKILL, 1)
        if code:
            why = tail(folder / "player.log") if "raw" in row or "call" in row else first_error(folder / f"errors-{name}.log")
            raise Failure(f"exit code {code}: {why}")
        if "call" in row and "nothing came back" in (folder / "player.log").read_text():
            raise Failure("no RTP came back")

    def look(self, name, row, folder):
        """The journal and the capture."""
        expectation = HERE / "expect" / f"{name}.json"
        wrong = []
        if expectation.exists() and row["bot"] != "none":
            journal = folder / "journal.jsonl"
            journal.touch()
            wrong += compare(journal, expectation)
        if row.get("judge"):
            wrong += judge(str(folder / "lo.pcap"), row["judge"])
        if wrong:
            raise Failure("; ".join(wrong))


def file_of(name):
    """Where a scenario is: uas_NAME is uas/NAME, every other uac/NAME."""
    return f"uas/{name.removeprefix('uas_')}" if name.startswith("uas_") else f"uac/{name}"


def free_blocks(count):
    """The first of so many blocks of ports in a row that no other run or program on this machine has, and the open files that claim them."""
    taken = {port for table in ("udp", "udp6", "tcp", "tcp6") for port in used_ports(table)}
    claims = []
    for block in range(12):
        free = not taken.intersection([*range(5100 + block * 100, 5200 + block * 100), *range(10000 + block * 1600, 11600 + block * 1600)])
        claims = [*claims, claim] if free and (claim := claim_block(block)) else []
        if len(claims) == count:
            return block + 1 - count, claims
    raise SystemExit(f"no {count} block(s) of ports are free: 5100-6299 and 10000-29199 are in use on this machine")


def claim_block(block):
    """The open file that claims a block, unless somebody else has it."""
    claim = open(Path(tempfile.gettempdir()) / f"sip-fixtures-ports-{block}.lock", "w", encoding="ascii")
    try:
        fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return claim
    except OSError:
        claim.close()
        return None


def used_ports(table):
    """Local ports in /proc/net/TABLE."""
    return [int(line.split()[1].rsplit(":", 1)[1], 16) for line in open(f"/proc/net/{table}", encoding="ascii").readlines()[1:]]


def listening(port):
    """Somebody listens on this TCP port (read from /proc, so that the bot sees no connection)."""
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in open(table, encoding="ascii"):
            fields = line.split()
            if fields[3] == "0A" and fields[1].endswith(f":{port:04X}"):
                return True
    return False


def first_error(path):
    """The first error SIPp wrote that says something."""
    try:
        text = path.read_text(errors="replace")
    except OSError:
        return "SIPp wrote no error"
    lines = [line for line in re.split(r"[\r\n]+", text) if line.strip() and "next to the scenario" not in line and "following events" not in line]
    return re.sub(r"^[\d\-:.\s]+", "", " ".join(lines[:6]))[:400] if lines else "SIPp wrote no error"


def work(lane, jobs, results):
    while True:
        with LOCK:
            if not jobs:
                break
            same = next((job for job in jobs if TABLE[job].get("config", "default") == lane.config), None)
            name = same if same is not None else jobs[0]
            jobs.remove(name)
        started = time.monotonic()
        try:
            passed, said = True, lane.run(name, TABLE[name])
        except Failure as failure:
            passed, said = False, str(failure)
        except (Exception, SystemExit) as error:      # a fault of the fixtures themselves is a failure too
            passed, said = False, f"{type(error).__name__}: {error}"
        results.put((name, passed, said, time.monotonic() - started))
    lane.end_bridge()


def play_all(names, lanes):
    """Shares the scenarios out to the lanes; how many failed."""
    jobs, results = list(names), queue.Queue()
    threads = [threading.Thread(target=work, args=(lane, jobs, results), daemon=True) for lane in lanes]
    for thread in threads:
        thread.start()
    failed = 0
    for _ in names:
        name, passed, said, seconds = results.get()
        failed += not passed
        print(f"{'PASS' if passed else 'FAIL'} {name} ({seconds:.1f} s)" + (f": {said}" if said else ""), flush=True)
    for thread in threads:
        thread.join(10)
    for claim in (claim for lane in lanes for claim in lane.claims):
        claim.close()
    return failed


def options():
    given = argparse.ArgumentParser(prog="sip-fixtures/run.sh", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("--bridge", default=str(ROOT / "target/debug/trunkstream"), metavar="PATH", help="the trunkstream binary (default: target/debug/trunkstream)")
    given.add_argument("--list", action="store_true", help="list the scenarios with what they prove")
    given.add_argument("--lanes", type=int, default=2, help="how many run side by side (default: 2)")
    given.add_argument("--keep", metavar="FOLDER", help="keep logs, journals and captures here (default: only of failures, in a temporary folder)")
    given.add_argument("names", nargs="*", metavar="all | fast | slow | NAME", help="a group, names or beginnings of names (default: fast)")
    return given.parse_args()


def chosen(names):
    """Scenario names in the table's order."""
    wanted = set()
    for name in names or ["fast"]:
        if name in ("fast", "slow", "all"):
            found = [key for key, row in TABLE.items() if name in ("all", row.get("group", "fast"))]
        else:
            found = [key for key in TABLE if key == name] or [key for key in TABLE if key.startswith(name)]
        if not found:
            raise SystemExit(f"there is no scenario or group {name!r}; --list shows them")
        wanted.update(found)
    return [key for key in TABLE if key in wanted]


def main():
    given = options()
    names = chosen(given.names)
    if given.list:
        for name in names:
            row = TABLE[name]
            print(f"{name:30} {row.get('group', 'fast'):5} {row['what']} [{', '.join(row['proves'])}]")
        return 0
    for tool in ("sipp", "tshark", "dumpcap", "openssl"):
        if not shutil.which(tool):
            raise SystemExit(f"{tool} is missing: apt-get install sip-tester tshark openssl")
    binary = os.path.abspath(given.bridge)
    if not os.access(binary, os.X_OK):
        raise SystemExit(f"there is no bridge at {binary}; build it or name it with --bridge")
    folder = Path(given.keep or tempfile.mkdtemp(prefix="sip-fixtures-")).resolve()
    folder = folder / time.strftime("%H%M%S") if given.keep else folder
    started = time.monotonic()
    together, alone = ([name for name in names if bool(TABLE[name].get("alone")) == wanted] for wanted in (False, True))
    failed = 0
    if together:
        failed += play_all(together, [Lane(number, binary, folder) for number in range(max(1, min(given.lanes, 4)))])
    if alone:
        failed += play_all(alone, [Lane("-alone", binary, folder, blocks=2)])
    print(f"{len(names) - failed} passed, {failed} failed, in {time.monotonic() - started:.0f} s" + (f"; logs: {folder}" if failed or given.keep else ""))
    if not failed and not given.keep:
        shutil.rmtree(folder, ignore_errors=True)
    return int(failed > 0)


TABLE = tomllib.loads((HERE / "scenarios.toml").read_text(encoding="utf-8"))

if __name__ == "__main__":
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, lambda *_: sys.exit(143))
    sys.exit(main())
