#!/usr/bin/env python3
"""An origin for larder in Python: a service that loads, stores and lists values, here in SQLite.

    python origin.py [--listen 127.0.0.1:9000] [--database FILE]

README.md says how to generate the two modules that it imports and how larder finds it. The three methods below are all that
a service needs; what a method leaves out of its answer counts as failed, and what it raises fails the call.
"""

import argparse
import concurrent.futures
import signal
import sqlite3
import threading

import grpc
from larder.v1 import origin_pb2, origin_pb2_grpc

SCHEMA = """
    CREATE TABLE IF NOT EXISTS items (
        namespace TEXT NOT NULL, type TEXT NOT NULL, key TEXT NOT NULL,
        value BLOB,              -- NULL: deleted
        version BLOB NOT NULL,   -- 8 bytes, which SQLite compares as the unsigned number that they are
        PRIMARY KEY (namespace, type, key)) WITHOUT ROWID
"""
LOAD = "SELECT value, version FROM items WHERE namespace = ? AND type = ? AND key = ?"
# A write may come late, or twice. A deleted key keeps its version, or an older write would bring it back.
STORE = """
    INSERT INTO items (namespace, type, key, value, version) VALUES (?, ?, ?, ?, ?)
    ON CONFLICT DO UPDATE SET value = excluded.value, version = excluded.version
    WHERE items.version < excluded.version
"""
SCAN = """
    SELECT key, value, version FROM items
    WHERE namespace = ? AND type = ? AND key > ? AND value IS NOT NULL ORDER BY key LIMIT ?
"""
COUNT = """
    SELECT count(*) FROM (SELECT 1 FROM items WHERE namespace = ? AND type = ? AND value IS NOT NULL LIMIT ?)
"""


class SqliteOrigin(origin_pb2_grpc.OriginServicer):
    def __init__(self, database):
        self._lock = threading.Lock()
        self._db = sqlite3.connect(database, check_same_thread=False, timeout=1.0)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute(SCHEMA)

    def close(self):
        self._db.close()

    def Load(self, request, context):
        response = origin_pb2.LoadResponse()
        for item in request.items:
            result = response.results.add(key=item.key)
            try:
                with self._lock:
                    row = self._db.execute(LOAD, (request.namespace, request.type, item.key)).fetchone()
            except sqlite3.OperationalError as error:
                # This key has failed; the others keep their answers. UNAVAILABLE: larder may ask again.
                result.error.code = grpc.StatusCode.UNAVAILABLE.value[0]
                result.error.message = str(error)
                continue
            if row is None or row[0] is None:
                result.absent.SetInParent()
            elif item.validator == validator(row[1]):
                result.unchanged.SetInParent()  # larder has this value already
            else:
                result.found.value = row[0]
                result.found.validator = validator(row[1])
        return response

    def Store(self, request, context):
        response = origin_pb2.StoreResponse()
        for item in request.items:
            value = None if item.delete else item.value
            result = response.results.add(key=item.key)
            try:
                with self._lock, self._db:  # a transaction of its own, so that one refused write undoes no other
                    self._db.execute(STORE, (request.namespace, request.type, item.key, value, packed(item.version)))
                result.outcome = origin_pb2.STORE_OUTCOME_OK  # also when something newer was there
            except sqlite3.IntegrityError as error:
                result.outcome = origin_pb2.STORE_OUTCOME_REJECT  # never will be possible
                result.message = str(error)
            except sqlite3.OperationalError as error:
                result.outcome = origin_pb2.STORE_OUTCOME_RETRY
                result.message = str(error)
        return response

    def Scan(self, request, context):
        after = request.cursor.decode()
        with self._lock:
            rows = self._db.execute(SCAN, (request.namespace, request.type, after, request.limit)).fetchall()
            if request.count_to > 0:  # asked for once, with the first page of a warming
                most = min(request.count_to, 1 << 62)
                total = self._db.execute(COUNT, (request.namespace, request.type, most)).fetchone()[0]
        response = origin_pb2.ScanResponse()
        if request.count_to > 0:
            response.total = total
        for key, value, version in rows:
            item = response.items.add(key=key)
            if not request.keys_only:
                item.found.value = value
                item.found.validator = validator(version)
        if len(rows) == request.limit:
            response.cursor = rows[-1][0].encode()  # there may be more
        return response


def packed(version):
    return version.to_bytes(8, "big")


def validator(version):
    """Names a value's content: the version that wrote it does, as no two writes have the same."""
    return version.hex()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--listen", metavar="HOST:PORT", default="127.0.0.1:9000")
    parser.add_argument("--database", metavar="FILE", default=":memory:")
    options = parser.parse_args()

    origin = SqliteOrigin(options.database)
    # As many threads as larder makes calls at a time (`concurrency` of the origin, 16 by default).
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(max_workers=16),
                         options=[("grpc.max_receive_message_length", 64 << 20)])
    origin_pb2_grpc.add_OriginServicer_to_server(origin, server)
    port = server.add_insecure_port(options.listen)
    # Before anybody may know that this runs.
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *unused: stop.set())
    server.start()
    print(f"listening on {options.listen.rsplit(':', 1)[0]}:{port}", flush=True)
    stop.wait()
    server.stop(grace=5).wait()  # answers what is under way
    origin.close()


if __name__ == "__main__":
    main()
