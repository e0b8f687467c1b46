"""The RocksDB part of `./dev bench l2`: Gets of the tier against db_bench's readrandom.

Both have 2 million entries of the same size in a store of their own with the same options, 128 MiB of cache, and two
threads that read. They take turns; before each turn the page cache forgets the files. The ratio is the median over the
turns. What else is compared with what is said at the top of bench/l2/rocksdb_gets.cc.
"""

import os
import pathlib
import re
import shutil
import statistics
import tempfile

import program
import rig

TURNS = 3
TURN_SECONDS = 8
ENTRIES = 2_000_000
# The key with its namespace, and the envelope round 200 bytes.
KEY_BYTES = 28
ENVELOPE_BYTES = 243

BARS = {"rocksdb_zipf_ratio": ">= 0.7", "rocksdb_room_used": "<= 1"}

# What server/tier/rocksdb_store.cc sets, for a tier of 4 GiB with 128 MiB of memory.
OPTIONS = [
    f"--num={ENTRIES}", f"--key_size={KEY_BYTES}", f"--value_size={ENVELOPE_BYTES}", "--compression_type=none",
    f"--cache_size={128 << 20}", "--cost_write_buffer_to_cache=true", f"--db_write_buffer_size={32 << 20}",
    f"--write_buffer_size={16 << 20}", f"--target_file_size_base={32 << 20}", f"--max_bytes_for_level_base={64 << 20}",
    "--level_compaction_dynamic_level_bytes=true", "--bloom_bits=10", "--partition_index_and_filters=true",
    "--cache_index_and_filter_blocks=true", "--pin_l0_filter_and_index_blocks_in_cache=true",
    "--pin_top_level_index_and_filter=true", "--use_data_block_hash_index=true", "--optimize_filters_for_memory=true",
    "--block_size=4096", "--open_files=-1", "--max_background_jobs=2", "--statistics=false", "--seed=1",
]


def db_bench(path, benchmarks, *options):
    """Runs db_bench and returns the operations a second of its last benchmark."""
    out = rig.run(["db_bench", f"--db={path}", f"--benchmarks={benchmarks}", *OPTIONS, *options]).decode()
    rates = re.findall(r"(\d+) ops/sec", out)
    if not rates:
        raise rig.BenchError(f"db_bench {benchmarks} tells no rate")
    return float(rates[-1])


def forget(path):
    """Lets the page cache go of all files under `path`, as far as the kernel follows the advice."""
    for file in pathlib.Path(path).rglob("*"):
        if file.is_file():
            descriptor = os.open(file, os.O_RDONLY)
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


def measure(table, where):
    """Adds the figures to `table`; works in the folder `where`."""
    scratch = pathlib.Path(tempfile.mkdtemp(prefix="larder-l2-", dir=where))
    try:
        ours, theirs = scratch / "tier", scratch / "db_bench"
        for name, value, unit in program.report("larder_l2_bench", "rocksdb-fill", str(ours), seconds_most=300):
            table.add(name, value, unit)
        db_bench(theirs, "filluniquerandom")
        rates = {"zipf": [], "uniform": [], "db_bench": []}
        for _ in range(TURNS):
            forget(theirs)
            rates["db_bench"].append(
                db_bench(theirs, "readrandom", "--use_existing_db=true", "--threads=2", f"--duration={TURN_SECONDS}"))
            for keys in ("zipf", "uniform"):
                forget(ours)
                told = program.report("larder_l2_bench", f"rocksdb-{keys}", str(ours), seconds_most=60)
                rates[keys].append(told[0][1])
        for keys, gets in rates.items():
            name = "db_bench_gets" if keys == "db_bench" else f"rocksdb_{keys}_gets"
            table.add(name, statistics.median(gets), "gets/s")
        for keys in ("zipf", "uniform"):
            ratio = statistics.median(mine / other for mine, other in zip(rates[keys], rates["db_bench"]))
            name = f"rocksdb_{keys}_ratio"
            table.add(name, ratio, "of db_bench", BARS.get(name, ""))
        for name, value, unit in program.report("larder_l2_bench", "rocksdb-room", str(scratch / "room"),
                                                seconds_most=300):
            table.add(name, value, unit, BARS.get(name, ""))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
