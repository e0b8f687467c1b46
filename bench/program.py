"""Runs the benches' own programs, which write one figure a line: NAME VALUE UNIT (bench/report.h)."""

import os
import pathlib
import subprocess

import rig


def path(name):
    bin_dir = pathlib.Path(os.environ.get("LARDER_BIN_DIR") or rig.ROOT / "build/release/bin").resolve()
    if not (bin_dir / name).exists():
        raise rig.BenchError(f"{bin_dir / name} is not there; ./dev bench NAME builds it")
    return str(bin_dir / name)


def report(name, *arguments, seconds_most, stdin=None):
    """Runs the program to its end and returns its figures as (name, value, unit). Its stderr goes to ours."""
    try:
        done = subprocess.run([path(name), *arguments], stdin=stdin or subprocess.DEVNULL, stdout=subprocess.PIPE,
                              timeout=seconds_most, check=False)
    except subprocess.TimeoutExpired as error:
        raise rig.BenchError(f"{name} {' '.join(arguments)} took more than {seconds_most} s") from error
    if done.returncode != 0:
        raise rig.BenchError(f"{name} {' '.join(arguments)} failed ({done.returncode})")
    figures = []
    for line in done.stdout.decode().splitlines():
        parts = line.split(" ", 2)
        figures.append((parts[0], float(parts[1]), parts[2] if len(parts) > 2 else ""))
    return figures


def load_average():
    return " ".join(f"{load:.2f}" for load in os.getloadavg())
