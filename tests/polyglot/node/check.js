// What a Node program relies on when it calls larder. Each function is one case.
// Needs LARDER_SERVER, and `proto` in the working directory; with LARDER_CA, a file, it speaks TLS. Prints a line for each case;
// exits 1 if one fails.

'use strict';
const assert = require('node:assert/strict');
const fs = require('node:fs');
const path = require('node:path');
const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');
const {GoogleError} = require('google-gax');

const address = process.env.LARDER_SERVER;
const ca = process.env.LARDER_CA;
const credentials = ca ? grpc.credentials.createSsl(fs.readFileSync(ca)) : grpc.credentials.createInsecure();
const TIMEOUT_MS = 10_000;

function load(file, folder) {
  const options = {includeDirs: [folder], keepCase: true, longs: String, enums: String, defaults: true, oneofs: true};
  return grpc.loadPackageDefinition(loader.loadSync(file, options));
}

function protosOf(npmPackage, ...below) {
  return path.join('node_modules', ...npmPackage.split('/'), ...below);
}

const {larder} = load(['larder/v1/cache.proto', 'larder/v1/admin.proto'], 'proto');
const cache = new larder.v1.Cache(address, credentials);
const admin = new larder.v1.Admin(address, credentials);

// A call that is under way: how to cancel it, and the promise of its reply.
function start(client, method, request, timeoutMs = TIMEOUT_MS) {
  let cancel;
  const reply = new Promise((resolve, reject) => {
    const options = {deadline: Date.now() + timeoutMs};
    const begun = client[method](request, options, (error, answer) => error ? reject(error) : resolve(answer));
    cancel = () => begun.cancel();
  });
  return {cancel, reply};
}

function call(client, method, request, timeoutMs = TIMEOUT_MS) {
  return start(client, method, request, timeoutMs).reply;
}

function events(stream) {
  return new Promise((resolve, reject) => {
    const seen = [];
    stream.on('data', (event) => seen.push(event));
    stream.on('error', reject);
    stream.on('end', () => resolve(seen));
  });
}

// The promise must fail; answers its error with the google.rpc details decoded.
async function errorOf(promise) {
  try {
    await promise;
  } catch (error) {
    return GoogleError.parseGRPCStatusDetails(error);
  }
  assert.fail('the call did not fail');
}

function violations(error) {
  const badRequest = error.statusDetails.find((detail) => detail.fieldViolations);
  return badRequest.fieldViolations.map((violation) => violation.field);
}

async function waitForWaiters(key, count) {
  const until = Date.now() + TIMEOUT_MS;
  while ((await call(admin, 'Explain', {key})).lease_waiters !== count) {
    assert(Date.now() < until, `${key} never had ${count} waiters`);
  }
}

async function storesReadsAndDeletesBytes() {
  const key = 'node:ключ:🔑';
  const value = Buffer.from(Array.from({length: 256}, (_, i) => i));
  const {stored} = await call(cache, 'Set', {key, value, ttl: {seconds: 60}, tags: ['node']});
  const {hit} = await call(cache, 'Get', {key});
  assert.deepEqual(hit.value, value);
  assert.equal(hit.version, stored.version);
  assert.deepEqual([hit.tags, hit.tier, hit.stale], [['node'], 'TIER_L1', false]);
  const deleted = await call(cache, 'Delete', {key});
  assert(deleted.existed);
  assert(BigInt(deleted.version) > BigInt(stored.version));
}

async function missesAreOkWithAReason() {
  assert.equal((await call(cache, 'Get', {key: 'node:nobody'})).miss.reason, 'MISS_REASON_ABSENT');
  await call(cache, 'Set', {key: 'node:gone', value: Buffer.from('v')});
  await call(cache, 'Delete', {key: 'node:gone'});
  assert.equal((await call(cache, 'Get', {key: 'node:gone'})).miss.reason, 'MISS_REASON_INVALIDATED');
}

async function keepsVersionsExactAsStrings() {
  const key = 'node:cas';
  const {stored} = await call(cache, 'Set', {key, value: Buffer.from('1')});
  const second = await call(cache, 'Set', {key, value: Buffer.from('2'), if_version: stored.version});
  assert.equal(second.result, 'stored');
  const late = await call(cache, 'Set', {key, value: Buffer.from('3'), if_version: stored.version});
  assert.equal(late.not_stored.reason, 'NOT_STORED_REASON_CONDITION');
  assert.equal(late.not_stored.current_version, second.stored.version);
}

async function tellsErrorsInGoogleRpcDetails() {
  const empty = await errorOf(call(cache, 'Get', {key: ''}));
  assert.deepEqual([empty.code, empty.reason, empty.domain], [grpc.status.INVALID_ARGUMENT, 'KEY_INVALID', 'larder']);
  assert.deepEqual(violations(empty), ['key']);
  const second = await errorOf(call(cache, 'BatchGet', {keys: ['a', '\n']}));
  assert.deepEqual(violations(second), ['keys[1]']);
  const stream = await errorOf(events(admin.Warm({}, {deadline: Date.now() + TIMEOUT_MS})));
  assert.deepEqual([stream.code, stream.reason], [grpc.status.INVALID_ARGUMENT, 'REQUEST_INVALID']);
  const same = (bytes) => bytes;
  const unknown = await errorOf(new Promise((resolve, reject) => {
    cache.makeUnaryRequest('/larder.v1.Cache/Fetch', same, same, Buffer.alloc(0),
                           (error, reply) => error ? reject(error) : resolve(reply));
  }));
  assert.deepEqual([unknown.code, unknown.reason], [grpc.status.UNIMPLEMENTED, 'METHOD_UNKNOWN']);
}

async function givesOneLeaseAndItsValueToTheOtherCaller() {
  const key = 'node:lease';
  const {lease} = await call(cache, 'GetOrLoad', {key});
  assert.equal(lease.ttl.seconds, '10');
  const waiting = call(cache, 'GetOrLoad', {key});
  await waitForWaiters(key, 1);
  const stored = await call(cache, 'Set', {key, value: Buffer.from('loaded'), lease_token: lease.token});
  assert.equal(stored.result, 'stored');
  assert.equal((await waiting).hit.value.toString(), 'loaded');
}

async function passesAReleasedLeaseOn() {
  const key = 'node:release';
  const {lease: first} = await call(cache, 'GetOrLoad', {key});
  const waiting = call(cache, 'GetOrLoad', {key});
  await waitForWaiters(key, 1);
  assert((await call(cache, 'ReleaseLease', {key, lease_token: first.token})).released);
  const {lease: second} = await waiting;
  assert.notDeepEqual(second.token, first.token);
  const late = await call(cache, 'Set', {key, value: Buffer.from('late'), lease_token: first.token});
  assert.equal(late.not_stored.reason, 'NOT_STORED_REASON_LEASE_LOST');
}

async function endsAWaitAtItsDeadline() {
  const key = 'node:deadline';
  await call(cache, 'GetOrLoad', {key});
  const {miss} = await call(cache, 'GetOrLoad', {key, wait: {nanos: 20_000_000}});
  assert.equal(miss.reason, 'MISS_REASON_LOADING');
  await assert.rejects(call(cache, 'GetOrLoad', {key}, 100), {code: grpc.status.DEADLINE_EXCEEDED});
  await waitForWaiters(key, 0);
}

async function cancelsAWaitingCall() {
  const key = 'node:cancelled';
  const {lease} = await call(cache, 'GetOrLoad', {key});
  const waiting = start(cache, 'GetOrLoad', {key});
  const code = waiting.reply.then(() => grpc.status.OK, (error) => error.code);
  await waitForWaiters(key, 1);
  waiting.cancel();
  assert.equal(await code, grpc.status.CANCELLED);
  await waitForWaiters(key, 0);
  // Who holds the lease does not notice.
  const stored = await call(cache, 'Set', {key, value: Buffer.from('loaded'), lease_token: lease.token});
  assert.equal(stored.result, 'stored');
}

async function followsChangesUntilItCancels() {
  const key = 'node:watched';
  const request = {prefix: key, values: true, heartbeat: {nanos: 100_000_000}};
  const watching = cache.Watch(request, {deadline: Date.now() + TIMEOUT_MS});
  let isTold = false;
  let put;
  await assert.rejects(async () => {
    for await (const change of watching) {
      // From the first word on every change is told.
      if (!isTold) await call(cache, 'Set', {key, value: Buffer.from('v')});
      isTold = true;
      if (change.put) {
        put = change.put;
        watching.cancel();
      }
    }
  }, {code: grpc.status.CANCELLED});
  assert.deepEqual([put.key, put.value], [key, Buffer.from('v')]);
}

async function takesAndGivesBatchesOfManyMegabytes() {
  const large = new larder.v1.Cache(address, credentials, {'grpc.max_receive_message_length': 64 << 20});
  const keys = Array.from({length: 12}, (_, i) => `node:large:${i}`);
  const value = Buffer.alloc(1_000_000, 'x');
  const stored = await call(large, 'BatchSet', {items: keys.map((key) => ({key, value}))});
  assert.deepEqual(stored.results.map(({result}) => result), keys.map(() => 'stored'));
  const found = await call(large, 'BatchGet', {keys});
  assert.deepEqual(found.results.map(({hit}) => hit && value.equals(hit.value)), keys.map(() => true));
  large.close();
}

async function waitsInThousandsOfStreamsAtOnce() {
  const key = 'node:crowd';
  const {lease} = await call(cache, 'GetOrLoad', {key});
  const waiting = Array.from({length: 2_000}, () => call(cache, 'GetOrLoad', {key}, 60_000));
  const answered = Promise.all(waiting);
  await Promise.race([waitForWaiters(key, waiting.length), answered]);
  await call(cache, 'Set', {key, value: Buffer.from('loaded'), lease_token: lease.token});
  const values = new Set((await answered).map(({hit}) => String(hit?.value)));
  assert.deepEqual(values, new Set(['loaded']));
}

async function describesItselfByReflection() {
  for (const version of ['v1', 'v1alpha']) {
    const loaded = load(`${version}/reflection.proto`, protosOf('@grpc/reflection', 'build/proto/grpc/reflection'));
    const client = new loaded.grpc.reflection[version].ServerReflection(address, credentials);
    const stream = client.ServerReflectionInfo({deadline: Date.now() + TIMEOUT_MS});
    stream.write({list_services: ''});
    stream.write({file_containing_symbol: 'larder.v1.GetRequest'});
    stream.end();
    const [listed, file] = await events(stream);
    const names = listed.list_services_response.service.map((service) => service.name);
    for (const name of ['larder.v1.Cache', 'larder.v1.Admin', 'grpc.health.v1.Health']) assert(names.includes(name), name);
    assert(file.file_descriptor_response.file_descriptor_proto.length > 0);
    client.close();
  }
}

async function tellsItsHealth() {
  const loaded = load('health/v1/health.proto', protosOf('grpc-health-check', 'proto'));
  const health = new loaded.grpc.health.v1.Health(address, credentials);
  for (const service of ['', 'liveness', 'readiness']) {
    assert.equal((await call(health, 'Check', {service})).status, 'SERVING', service);
  }
  await assert.rejects(call(health, 'Check', {service: 'nobody'}), {code: grpc.status.NOT_FOUND});
  health.close();
}

const CASES = [
  storesReadsAndDeletesBytes, missesAreOkWithAReason, keepsVersionsExactAsStrings, tellsErrorsInGoogleRpcDetails,
  givesOneLeaseAndItsValueToTheOtherCaller, passesAReleasedLeaseOn, endsAWaitAtItsDeadline, cancelsAWaitingCall,
  followsChangesUntilItCancels, takesAndGivesBatchesOfManyMegabytes, waitsInThousandsOfStreamsAtOnce,
  describesItselfByReflection, tellsItsHealth,
];

async function main() {
  for (const run of CASES) {
    try {
      await run();
      console.log(`ok      node ${run.name}`);
    } catch (error) {
      process.exitCode = 1;
      console.log(`FAILED  node ${run.name}\n${error.stack}`);
    }
  }
  cache.close();
  admin.close();
}

main();
