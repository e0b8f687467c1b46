// GetOrLoad over larder, for services in Node: read a key, or load it once for all who ask.
//
//     const cache = new LarderCache(['larder-0:50051', 'larder-1:50051'], {protos: 'proto'});
//     const profile = await cache.getOrLoad('user:42', () => readProfile(42), {ttlMs: 60_000});
//
// Copy this file into your service, beside larder's folder `proto`. It needs @grpc/grpc-js, @grpc/proto-loader and protobufjs,
// which comes with the latter. What it does and why is in larder's docs/clients.md.

'use strict';
const crypto = require('node:crypto');
const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');
const protobuf = require('protobufjs');

// What gRPC does by itself on each connection. Every call of this file can be repeated: a Set carries a request id.
const SERVICE_CONFIG = {
  methodConfig: [{
    name: [{service: 'larder.v1.Cache'}],
    retryPolicy: {
      maxAttempts: 3, initialBackoff: '0.02s', maxBackoff: '0.2s', backoffMultiplier: 2, retryableStatusCodes: ['UNAVAILABLE'],
    },
  }],
  retryThrottling: {maxTokens: 10, tokenRatio: 0.1},
};

const CHANNEL_OPTIONS = {
  'grpc.service_config': JSON.stringify(SERVICE_CONFIG),
  // Finds out that a replica has vanished without a word, while calls are under way. larder closes connections that ping more
  // often than every 10 s (connections.ping_interval_min).
  'grpc.keepalive_time_ms': 30_000,
  'grpc.keepalive_timeout_ms': 5_000,
  // Else a replica that is back would not be noticed for up to two minutes.
  'grpc.initial_reconnect_backoff_ms': 100,
  'grpc.max_reconnect_backoff_ms': 2_000,
  // Each client has its own connections and their state of backing off.
  'grpc.use_local_subchannel_pool': 1,
};

// The caller's own mistakes: to be seen, not to be bridged by loading.
const REFUSALS = new Set([grpc.status.INVALID_ARGUMENT, grpc.status.FAILED_PRECONDITION, grpc.status.PERMISSION_DENIED,
                          grpc.status.UNAUTHENTICATED]);

const ERRORS = protobuf.parse(`
  syntax = "proto3";
  package google.rpc;
  message Any { string type_url = 1; bytes value = 2; }
  message Status { int32 code = 1; string message = 2; repeated Any details = 3; }
  message ErrorInfo { string reason = 1; string domain = 2; }`, {keepCase: true}).root;

// The reason that larder gives for an error, such as ORIGIN_UNAVAILABLE; empty for others' errors.
function reasonOf(error) {
  const [bytes] = error.metadata?.get('grpc-status-details-bin') ?? [];
  if (!Buffer.isBuffer(bytes)) return '';
  try {
    const {details} = ERRORS.lookupType('google.rpc.Status').decode(bytes);
    const info = details.find((detail) => detail.type_url.endsWith('/google.rpc.ErrorInfo'));
    return info ? ERRORS.lookupType('google.rpc.ErrorInfo').decode(info.value).reason : '';
  } catch {
    return ''; // not larder's
  }
}

function duration(ms) {
  const nanos = Math.round(ms * 1e6);
  return {seconds: Math.floor(nanos / 1e9), nanos: nanos % 1e9};
}

class LarderCache {
  #namespace;
  #deadlineMs;
  #leaseTtlMs;
  #restMs;
  #onError;
  #replicas;
  #turn = 0;
  #flights = new Map();

  // `targets`: an address for each replica. `protos`: the folder that holds larder/v1. `deadlineMs`: what the calls to larder may
  // take before the value is loaded without it, the wait for another caller's load included. `leaseTtlMs`: longer than a load
  // takes; 10 ms to 5 minutes. `restMs`: how long a replica that failed is left alone. `onError` is called with the
  // errors that cost nobody a value: a replica that is away, a Set that failed.
  constructor(targets, {protos = 'proto', namespace = '', deadlineMs = 1000, leaseTtlMs = 10_000, restMs = 1000, onError = () => {},
                        credentials = grpc.credentials.createInsecure()} = {}) {
    if (targets.length === 0 || !(deadlineMs > 0)) throw new RangeError('a cache needs a target and a deadline');
    // Versions are 64 bits wide: more than a JavaScript number holds.
    const options = {includeDirs: [protos], keepCase: true, longs: String, enums: String, oneofs: true};
    const {larder} = grpc.loadPackageDefinition(loader.loadSync('larder/v1/cache.proto', options));
    this.#namespace = namespace;
    this.#deadlineMs = deadlineMs;
    this.#leaseTtlMs = leaseTtlMs;
    this.#restMs = restMs;
    this.#onError = onError;
    this.#replicas = targets.map((target) => (
      {client: new larder.v1.Cache(target, credentials, CHANNEL_OPTIONS), restsUntil: 0}));
  }

  close() {
    for (const {client} of this.#replicas) client.close();
  }

  // The value of `key` as a Buffer, or null when there is none. On a miss `load()` runs in one caller of all, and answers the
  // value, or null for a key that does not exist. What it throws reaches the caller whose `load` it was; the others go on.
  // `ttlMs`: by the data type unless it is given. Rejects with gRPC's error when larder refuses the call, and when the origin from
  // which larder loads the key fails.
  async getOrLoad(key, load, {ttlMs, tags = [], type = ''} = {}) {
    for (;;) {
      const flight = this.#flights.get(key);
      if (flight === undefined) break;
      const landed = await flight;
      if (landed !== undefined) return landed;
      // It failed: this caller is as good as any.
    }
    const own = this.#fly(key, load, {ttlMs, tags, type}).finally(() => this.#flights.delete(key));
    // The others learn only whether it has landed: a value or null, undefined when it failed.
    this.#flights.set(key, own.catch(() => undefined));
    return own;
  }

  async #fly(key, load, options) {
    const {answer, client} = await this.#ask(key, options.type);
    if (answer?.hit) return answer.hit.value;
    if (answer?.miss?.reason === 'MISS_REASON_NEGATIVE') return null;
    const lease = answer?.lease ? {client, token: answer.lease.token} : null;
    let value;
    try {
      value = await load() ?? null;
    } catch (error) {
      await this.#giveBack(key, lease);
      throw error;
    }
    await this.#store(key, value, lease, options);
    return value;
  }

  // What larder answers and the client of the replica that did; neither when none does in time.
  async #ask(key, type) {
    const until = Date.now() + this.#deadlineMs;
    for (const replica of this.#inTurn()) {
      const left = until - Date.now();
      if (left <= 0) break;
      // It waits a little less than the deadline, which would look as if the replica were dead.
      const request = {namespace: this.#namespace, key, type, lease_ttl: duration(this.#leaseTtlMs), wait: duration(left * 0.9)};
      try {
        const answer = await this.#call(replica.client, 'GetOrLoad', request, until);
        replica.restsUntil = 0;
        return {answer, client: replica.client};
      } catch (error) {
        if (REFUSALS.has(error.code) || reasonOf(error).startsWith('ORIGIN_')) throw error;
        replica.restsUntil = Date.now() + this.#restMs;
        this.#onError(error);
      }
    }
    return {};
  }

  // The replicas that do not rest, each call beginning with the next one.
  #inTurn() {
    const first = this.#turn++ % this.#replicas.length;
    const now = Date.now();
    return [...this.#replicas.slice(first), ...this.#replicas.slice(0, first)].filter(({restsUntil}) => restsUntil <= now);
  }

  async #store(key, value, lease, {ttlMs, tags, type}) {
    // Without a lease the value may be older than a change that was made meanwhile: it is not for others.
    if (lease === null) return;
    const request = {namespace: this.#namespace, key, type, tags, lease_token: lease.token, request_id: crypto.randomUUID()};
    if (value === null) request.absent = true;
    else request.value = value;
    if (ttlMs !== undefined) request.ttl = duration(ttlMs);
    try {
      await this.#call(lease.client, 'Set', request);
    } catch (error) {
      this.#onError(error); // the caller has its value all the same
      await this.#giveBack(key, lease);
    }
  }

  async #giveBack(key, lease) {
    if (lease === null) return;
    try {
      await this.#call(lease.client, 'ReleaseLease', {namespace: this.#namespace, key, lease_token: lease.token});
    } catch (error) {
      this.#onError(error); // then it runs out by itself
    }
  }

  #call(client, method, request, deadline = Date.now() + this.#deadlineMs) {
    return new Promise((resolve, reject) => {
      client[method](request, {deadline}, (error, answer) => error ? reject(error) : resolve(answer));
    });
  }
}

module.exports = {LarderCache, reasonOf};
