"""Runs the command of the Redis that k8s/components/redis brings, with a real redis-server: redis_check.py FILE.yaml

The paths of the container are put into a temporary directory, and the port is a free one; the rest is run as it stands.
"""

import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time

import yaml

# All that the configuration file of Redis would take for its own.
PASSWORD = 'a"b\\c $d #e'
PATIENCE_S = 20


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def ask(port, *command):
    return subprocess.run(["redis-cli", "-p", str(port), *command], capture_output=True, text=True, timeout=60, check=False,
                          env={**os.environ, "REDISCLI_AUTH": PASSWORD}).stdout.strip()


def main(file):
    objects = list(yaml.safe_load_all(pathlib.Path(file).read_text(encoding="utf-8")))
    (redis,) = [o for o in objects if o["kind"] == "StatefulSet" and o["metadata"]["name"] == "larder-redis"]
    (container,) = redis["spec"]["template"]["spec"]["containers"]
    problems = []
    with tempfile.TemporaryDirectory(prefix="larder-redis-") as folder:
        # With a newline at its end, as editors leave it.
        pathlib.Path(folder, "password").write_text(PASSWORD + "\n", encoding="utf-8")
        port = free_port()
        command = [word.replace("/etc/larder-redis", folder).replace("dir /tmp", f"dir {folder}").replace("port 6379", f"port {port}")
                   for word in container["command"]]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        try:
            until = time.monotonic() + PATIENCE_S
            while ask(port, "ping") != "PONG" and time.monotonic() < until:
                time.sleep(0.05)  # polls another process
            # The names in the order in which Redis answers.
            settings = ask(port, "config", "get", "maxmemory-policy").split() + ask(port, "config", "get", "save").split()
            if settings != ["maxmemory-policy", "volatile-lru", "save"] or ask(port, "set", "k", "v") != "OK":
                problems.append(f"Redis has not taken its configuration and password: {settings}")
            arguments = pathlib.Path(f"/proc/{server.pid}/cmdline").read_bytes()
            variables = pathlib.Path(f"/proc/{server.pid}/environ").read_bytes()
            if PASSWORD.encode() in arguments + variables or b"redis-server" not in arguments:
                problems.append(f"the password shows, or a shell stands before Redis: {arguments}")
        finally:
            server.terminate()
            output = server.communicate(timeout=60)[0].decode(errors="replace")
        if server.returncode != 0:
            problems.append(f"Redis ended with {server.returncode}: {output}")
        limit = int(container["resources"]["limits"]["memory"].removesuffix("Mi"))
        most = next(int(line.split()[1].removesuffix("mb")) for line in container["command"][-1].splitlines() if "maxmemory " in line)
        if most > 0.8 * limit:
            problems.append(f"maxmemory {most}mb leaves no room in {limit}Mi")
    print("\n".join([*problems, "the component's Redis was run"]))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
