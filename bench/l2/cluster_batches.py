"""What a BatchGet costs a Redis Cluster: how often each node reads when one larderd is asked for 100 keys it lacks.

Three masters without replicas. A node's count has in it what the bus and the client's look at the topology read, now
and then; those only add, so the fewest of the rounds is what the batch itself costs.
"""

import contextlib
import pathlib
import tempfile
import time

import program
import redis_gets
import rig

NODES = 3
KEYS = 100
ROUNDS = 20
SERVER_CORE, LARDERD_CORE = 0, 1
BATCH_GET = "larder.v1.Cache/BatchGet"

BARS = {"cluster_batch_reads": "<= 1"}


class Node(rig.Server):
    """A redis-server of a Cluster, without a disk but for what it must write down of the others."""

    def __init__(self, folder):
        self.port = redis_gets.free_port()
        bus_port = redis_gets.free_port()
        super().__init__(["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "",
                          "--appendonly", "no", "--loglevel", "warning", "--dir", str(folder),
                          "--cluster-enabled", "yes", "--cluster-port", str(bus_port),
                          "--cluster-config-file", f"nodes-{self.port}.conf"],
                         SERVER_CORE)
        self.bus_port = bus_port
        self.wait_for_address(
            lambda server: f"127.0.0.1:{server.port}" if redis_gets.answers(server.port) else None)


def wait_until(what, condition, limit_seconds=30):
    until = time.monotonic() + limit_seconds
    while not condition():
        if time.monotonic() > until:
            raise rig.BenchError(f"not within {limit_seconds} s: {what}")
        time.sleep(0.05)


@contextlib.contextmanager
def cluster(folder):
    with contextlib.ExitStack() as stack:
        nodes = [stack.enter_context(Node(folder)) for _ in range(NODES)]
        for i, node in enumerate(nodes):
            first, last = 16384 * i // NODES, 16384 * (i + 1) // NODES - 1
            redis_gets.ask(node.port, "CLUSTER", "SET-CONFIG-EPOCH", str(i + 1))
            redis_gets.ask(node.port, "CLUSTER", "ADDSLOTSRANGE", str(first), str(last))
            if i:
                redis_gets.ask(nodes[0].port, "CLUSTER", "MEET", "127.0.0.1", str(node.port), str(node.bus_port))
        for node in nodes:
            wait_until("the Cluster is ok",
                       lambda node=node: "cluster_state:ok" in redis_gets.ask(node.port, "CLUSTER", "INFO"))
        yield nodes


def reads(node):
    return redis_gets.info(node.port, "total_reads_processed")


def batch_of_misses(server, number):
    request = rig.protoc("encode", "larder.v1.BatchGetRequest",
                         "".join(f'keys: "none:{number}:{i}" ' for i in range(KEYS)).encode())
    _, text = rig.call(server, BATCH_GET, request, "larder.v1.BatchGetResponse")
    if text.count("miss {") != KEYS or "TIER_FAILED" in text:
        raise rig.BenchError(f"BatchGet is not what is to be measured:\n{text[:2000]}")


def measure(table):
    """Adds the figure to `table` (bench/figures.py)."""
    bin_dir = pathlib.Path(program.path("larderd")).parent
    with tempfile.TemporaryDirectory() as place, cluster(place) as nodes:
        url = "redis-cluster://" + ",".join(node.address for node in nodes)
        with rig.larderd(bin_dir, LARDERD_CORE, ["memory.l1=64MiB", f"l2.redis.url={url}"]) as server:
            server.wait_for_address(rig.larderd_address)
            batch_of_misses(server, 0)  # brings the connections up
            fewest, of_a_question = [None] * NODES, [None] * NODES
            for number in range(1, ROUNDS + 1):
                empty = [reads(node) for node in nodes]
                before = [reads(node) for node in nodes]
                batch_of_misses(server, number)
                after = [reads(node) for node in nodes]
                for i in range(NODES):
                    question, batch = before[i] - empty[i], after[i] - before[i]
                    of_a_question[i] = question if of_a_question[i] is None else min(of_a_question[i], question)
                    fewest[i] = batch if fewest[i] is None else min(fewest[i], batch)
    most = max(batch - question for batch, question in zip(fewest, of_a_question))
    if min(batch - question for batch, question in zip(fewest, of_a_question)) < 1:
        raise rig.BenchError("a node was not asked at all")
    table.add("cluster_batch_reads", most, f"reads of a node a BatchGet of {KEYS} misses, {NODES} nodes",
              BARS["cluster_batch_reads"])
