"""What the tests of the `larder` command share: the programs, a server, and ways to run the command.

Needs LARDER_BIN_DIR.
"""

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import threading

BIN = os.environ["LARDER_BIN_DIR"]
LARDER = os.path.join(BIN, "larder")
LARDERD = os.path.join(BIN, "larderd")
NO_VALUE = 3

failures = []


def check(what, truth, detail=""):
    if not truth:
        failures.append(what)
        print(f"FAILED: {what} {detail}", file=sys.stderr)


class Server:
    """larderd on a free port."""

    def __init__(self, *settings, config=None):
        args = ["--config", config] if config else []
        settings = ("listen.grpc=127.0.0.1:0", "listen.native=127.0.0.1:0", "listen.admin=127.0.0.1:0", *settings)
        args += [word for setting in settings for word in ("--set", setting)]
        self.process = subprocess.Popen([LARDERD, *args], stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
        self.address = ""
        self.admin = ""
        self.native = ""
        for line in self.process.stderr:
            found = re.search(r'(lane|admin)_listening.*address"?[=:]\s*"?([0-9.]+:[0-9]+)', line)
            if found and found.group(1) == "admin":
                self.admin = found.group(2)
            elif found and '"native"' in line:
                self.native = found.group(2)
            elif found:
                self.address = found.group(2)
            if self.address and self.admin and self.native:
                break
        if not self.address:
            sys.exit("larderd did not come up")
        threading.Thread(target=self.process.stderr.read, daemon=True).start()

    def stop(self):
        self.process.terminate()
        check("larderd ends well", self.process.wait(30) == 0)


def run(*args, stdin=b"", env=None, expect=0):
    """Runs larder with its output piped."""
    done = subprocess.run([LARDER, *args], input=stdin, capture_output=True, timeout=60, env={**os.environ, **(env or {})})
    check(f"exit code of larder {' '.join(args)}", done.returncode == expect,
          f"is {done.returncode}, not {expect}: {done.stdout!r} {done.stderr!r}")
    return done


def run_json(*args, expect=0, **kwargs):
    done = run("--json", *args, expect=expect, **kwargs)
    tool = subprocess.run([sys.executable, "-m", "json.tool"], input=done.stdout, capture_output=True)
    check(f"JSON of larder {' '.join(args)}", tool.returncode == 0, repr(done.stdout))
    return json.loads(done.stdout)


def run_on_terminal(*args, env=None, interrupt_at=None, press=None, expect=0, columns=0, lines=24):
    """Runs larder with a terminal as its stdout and returns what it shows; presses Ctrl-C when it shows `interrupt_at`.

    `press` is what it must have shown, how often, and the keys that are pressed then; stdin is the terminal, too.
    """
    leader, follower = pty.openpty()
    if columns:
        fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    before = termios.tcgetattr(follower)
    process = subprocess.Popen([LARDER, *args], stdout=follower, stdin=follower if press else subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL, env={**os.environ, **(env or {})})
    shown = b""
    open_here = True
    while True:
        # The terminal stays open here until the process is gone, so that what it was set to can be looked at.
        if open_here and process.poll() is not None:
            check(f"larder {' '.join(args)} leaves the terminal as it was", termios.tcgetattr(follower) == before)
            os.close(follower)
            open_here = False
        if open_here and not select.select([leader], [], [], 0.05)[0]:
            continue
        try:
            chunk = os.read(leader, 65536)
        except OSError:  # how Linux says that the other end has closed
            break
        if not chunk:
            break
        shown += chunk
        if interrupt_at and interrupt_at in shown:
            process.send_signal(signal.SIGINT)
            interrupt_at = None
        if press and shown.count(press[0]) >= press[1]:
            os.write(leader, press[2])
            press = None
    os.close(leader)
    code = process.wait(60)
    check(f"exit code of larder {' '.join(args)} on a terminal", code == expect, f"is {code}, not {expect}: {shown!r}")
    return shown.decode()


class Terminal:
    """What a terminal of this size makes of what it is sent, as far as `larder top` uses it. Complains of anything else."""

    def __init__(self, columns, lines):
        self.columns, self.lines = columns, lines
        self.clear()
        self.other_page = False
        self.cursor = True
        self.pages = []  # as they were whenever one was complete

    def clear(self):
        self.cells = [[" "] * self.columns for _ in range(self.lines)]
        self.row = self.column = 0

    def text(self):
        return "\n".join("".join(row).rstrip() for row in self.cells)

    def show(self, text):
        at = 0
        while at < len(text):
            sequence = re.compile(r"\x1b\[(\?[0-9]+[hl]|[0-9]*[HJK])").match(text, at)
            if sequence:
                self.obey(sequence.group(1))
                at = sequence.end()
            elif text[at] == "\r":
                self.column = 0
                at += 1
            elif text[at] == "\n":
                self.row += 1
                check("a page does not scroll", self.row < self.lines)
                at += 1
            else:
                check("only what is known is sent", text[at] >= " ", repr(text[at - 5:at + 20]))
                check("a line does not wrap", self.column < self.columns, self.text())
                if self.row < self.lines and self.column < self.columns:
                    self.cells[self.row][self.column] = text[at]
                self.column += 1
                at += 1

    def obey(self, what):
        if what == "H":
            self.row = self.column = 0
        elif what == "2J":
            self.clear()
        elif what == "K":
            self.cells[self.row][self.column:] = [" "] * (self.columns - self.column)
        elif what == "J":
            if self.column < self.columns:
                self.obey("K")
            for row in range(self.row + 1, self.lines):
                self.cells[row] = [" "] * self.columns
            self.pages.append(self.text())
        elif what in ("?1049h", "?1049l"):
            self.other_page = what.endswith("h")
        elif what in ("?25h", "?25l"):
            self.cursor = what.endswith("h")
        else:
            check("only known sequences are sent", False, what)
