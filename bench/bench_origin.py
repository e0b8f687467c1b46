"""The origin of benches: bench/load/origin.cc, as a process of its own."""

import subprocess

import program
import rig


class Origin:
    """larder_bench_origin. Use with `with`."""

    def __init__(self, delay_ms):
        self._address = "127.0.0.1:0"
        self._delay_ms = delay_ms
        self._start()

    def _start(self):
        self.process = subprocess.Popen([program.path("larder_bench_origin"), self._address],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        said = self.process.stdout.readline().split()
        if len(said) != 2 or said[0] != "listening":
            self._end()
            raise rig.BenchError("the origin does not listen")
        self._address = said[1]  # also after the next start
        self.tell(f"delay {self._delay_ms}")

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self._end()

    def _end(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()

    @property
    def target(self):
        return self._address

    def tell(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def stats(self):
        words = self.tell("stats").split()
        return dict(zip(words[::2], map(int, words[1::2])))

    def kill(self):
        self._end()

    def restart(self):
        """Begins again at the same address; returns when it listens."""
        self._start()
