"""The part of `./dev bench l2` about restarts: how much of memory's hit ratio is there ten seconds after a start.

One process fills the embedded tier with a million entries and reads them until memory has settled; it ends, the page cache
forgets its files, and the next process starts, with and without the list of hot keys. What is measured is said at the
top of bench/l2/warm.cc.
"""

import pathlib
import shutil
import tempfile

import program
from rocksdb_gets import forget

BARS = {"warm_restart_of_hit_ratio_at_10s": ">= 0.9"}


def measure(table, where):
    """Adds the figures to `table`; works in the folder `where`."""
    scratch = pathlib.Path(tempfile.mkdtemp(prefix="larder-warm-", dir=where))
    try:
        data = str(scratch / "data")
        before = _figures("run", data)["hit_ratio"]
        forget(data)
        warm = _figures("warm", data)
        forget(data)
        cold = _figures("cold", data)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    add = lambda name, value, unit: table.add(name, value, unit, BARS.get(name, ""))  # noqa: E731
    add("warm_restart_hit_ratio_before", before, "of reads")
    add("warm_restart_ready", warm["ready"], "s")
    add("warm_restart_fetched", warm["fetched"], "entries")
    add("warm_restart_of_hit_ratio_at_once", warm["hit_ratio_at_once"] / before, "of the one before")
    add("warm_restart_of_hit_ratio_at_10s", warm["hit_ratio_at_10s"] / before, "of the one before")
    add("cold_restart_of_hit_ratio_at_once", cold["hit_ratio_at_once"] / before, "of the one before")
    add("cold_restart_of_hit_ratio_at_10s", cold["hit_ratio_at_10s"] / before, "of the one before")


def _figures(mode, data):
    return {name: value for name, value, _ in program.report("larder_warm_bench", mode, data, seconds_most=300)}
