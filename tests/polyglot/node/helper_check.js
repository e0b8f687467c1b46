// What client/node/larder_cache.js does, on a real larderd. Each function is one case.
// LARDER_SERVER is a larderd that `run` stops, freezes and starts when this program asks it on stdout and waits for its answer
// on stdin; LARDER_OTHER is a second one, alone as well; LARDER_FLAKY is flaky_cache.py. Needs `proto` in the working directory.
// Prints a line for each case; exits 1 if one fails.

'use strict';
const assert = require('node:assert/strict');
const readline = require('node:readline');
const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');
const {LarderCache, reasonOf} = require('./larder_cache.js');

const {LARDER_SERVER: SERVER, LARDER_OTHER: OTHER, LARDER_FLAKY: FLAKY} = process.env;
const NOBODY = '127.0.0.1:1';
const TIMEOUT_MS = 10_000;
const CALLERS = 20;

const options = {includeDirs: ['proto'], keepCase: true, longs: String, enums: String, oneofs: true};
const {larder} = grpc.loadPackageDefinition(loader.loadSync(['larder/v1/cache.proto', 'larder/v1/admin.proto'], options));
const answers = readline.createInterface({input: process.stdin})[Symbol.asyncIterator]();

async function tellRun(word) {
  console.log(`@ ${word}`);
  assert.equal((await answers.next()).value, 'done');
}

function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

async function call(Service, address, method, request) {
  const client = new Service(address, grpc.credentials.createInsecure(), {'grpc.use_local_subchannel_pool': 1});
  try {
    return await new Promise((resolve, reject) => {
      client[method](request, {deadline: Date.now() + TIMEOUT_MS}, (error, answer) => error ? reject(error) : resolve(answer));
    });
  } finally {
    client.close();
  }
}

// The hit of a key, or undefined.
async function storedAt(address, key) {
  return (await call(larder.v1.Cache, address, 'Get', {key})).hit ?? undefined;
}

async function waitForWaiters(key, count) {
  const until = Date.now() + TIMEOUT_MS;
  while (((await call(larder.v1.Admin, SERVER, 'Explain', {key})).lease_waiters ?? 0) !== count) {
    assert(Date.now() < until, `${key} never had ${count} waiters`);
  }
}

async function withCaches(made, run) {
  const caches = made.map(([targets, more]) => new LarderCache(targets, {deadlineMs: TIMEOUT_MS, ...more}));
  try {
    await run(...caches);
  } finally {
    for (const cache of caches) cache.close();
  }
}

async function never() {
  assert.fail('the loader ran');
}

// CALLERS calls of getOrLoad at once, their values or errors, and how often the loader ran. The first load ends when all have
// called.
async function askAtOnce(caches, key, {failFirst = false, ...more} = {}) {
  let loads = 0;
  let allCalled;
  const called = new Promise((resolve) => { allCalled = resolve; });
  const load = async () => {
    const first = ++loads === 1;
    if (first) await called;
    if (first && failFirst) throw new RangeError('the source is away');
    return Buffer.from('loaded');
  };
  const calls = Array.from({length: CALLERS}, (_, i) => caches[i % caches.length].getOrLoad(key, load, more));
  allCalled();
  const settled = await Promise.allSettled(calls);
  const values = settled.filter(({status}) => status === 'fulfilled').map(({value}) => value.toString());
  return {values, errors: settled.filter(({status}) => status === 'rejected').map(({reason}) => reason), loads};
}

async function loadsOnceForTwentyCallers() {
  await withCaches([[[SERVER]]], async (cache) => {
    const {values, loads} = await askAtOnce([cache], 'node:once', {ttlMs: 60_000, tags: ['node']});
    assert.deepEqual([values, loads], [Array(CALLERS).fill('loaded'), 1]);
    const hit = await storedAt(SERVER, 'node:once');
    assert.deepEqual([hit.value.toString(), hit.tags], ['loaded', ['node']]);
    assert(Number(hit.remaining_ttl.seconds) <= 66);
    assert.equal((await cache.getOrLoad('node:once', never)).toString(), 'loaded');
  });
}

async function loadsOnceForTwoProcesses() {
  await withCaches([[[SERVER]], [[SERVER]]], async (one, two) => {
    let other;
    const value = await one.getOrLoad('node:two', async () => {
      other = two.getOrLoad('node:two', never);
      await waitForWaiters('node:two', 1);
      return Buffer.from('of one');
    });
    assert.deepEqual([value.toString(), (await other).toString()], ['of one', 'of one']);
  });
}

async function othersGoOnWhenALoaderFails() {
  await withCaches([[[SERVER]], [[SERVER]]], async (one, two) => {
    const {values, errors, loads} = await askAtOnce([one, two], 'node:fail', {failFirst: true});
    assert.deepEqual([values, errors.length, loads], [Array(CALLERS - 1).fill('loaded'), 1, 2]);
    assert(errors[0] instanceof RangeError);
    assert.equal((await storedAt(SERVER, 'node:fail')).value.toString(), 'loaded');
  });
}

async function remembersWhatDoesNotExist() {
  await withCaches([[[SERVER]]], async (cache) => {
    assert.equal(await cache.getOrLoad('node:none', async () => null), null);
    assert.equal(await cache.getOrLoad('node:none', never), null);
  });
}

async function showsMistakesAndFailedOrigins() {
  await withCaches([[[SERVER]]], async (cache) => {
    for (const [key, code, reason] of [['', grpc.status.INVALID_ARGUMENT, 'KEY_INVALID'],
                                       ['dead:1', grpc.status.UNAVAILABLE, 'ORIGIN_UNAVAILABLE']]) {
      await assert.rejects(cache.getOrLoad(key, never), (error) => {
        assert.deepEqual([error.code, reasonOf(error)], [code, reason]);
        return true;
      });
    }
  });
}

async function repeatsWhatIsUnavailableAndNothingElse() {
  await withCaches([[[FLAKY], {restMs: 0}]], async (cache) => {
    assert.equal((await cache.getOrLoad('flaky:node', never)).toString(), 'at last');
    for (const [key, calls] of [['away:node', '3'], ['broken:node', '1']]) {
      assert.equal((await cache.getOrLoad(key, async () => Buffer.from('round it'))).toString(), 'round it');
      assert.equal((await cache.getOrLoad(`calls:${key}`, never)).toString(), calls, key);
    }
  });
}

async function keepsALeaseOnTheReplicaThatGaveIt() {
  const keys = Array.from({length: 10}, (_, i) => `node:turn:${i}`);
  await withCaches([[[SERVER, OTHER]]], async (cache) => {
    for (const key of keys) await cache.getOrLoad(key, async () => Buffer.from('v'));
  });
  for (const [i, key] of keys.entries()) {
    const [here, there] = [await storedAt(SERVER, key), await storedAt(OTHER, key)];
    assert.deepEqual([here !== undefined, there !== undefined], [i % 2 === 0, i % 2 === 1], key);
  }
}

async function usesTheReplicasThatAreThere() {
  const errors = [];
  await withCaches([[[NOBODY, SERVER], {restMs: TIMEOUT_MS, onError: (error) => errors.push(error)}]], async (cache) => {
    for (const key of ['node:there:0', 'node:there:1', 'node:there:2', 'node:there:3']) {
      await cache.getOrLoad(key, async () => Buffer.from('v'));
      assert(await storedAt(SERVER, key), key);
    }
  });
  assert.equal(errors.length, 1, 'the one that is away is asked once, then it rests');
}

async function timed(cache, key) {
  const began = Date.now();
  const value = await cache.getOrLoad(key, async () => Buffer.from('by hand'));
  return [value.toString(), Date.now() - began];
}

async function goesOnWithoutLarderAndComesBack() {
  await withCaches([[[SERVER], {deadlineMs: 2000, restMs: 100}]], async (cache) => {
    const load = async () => Buffer.from('v');
    await cache.getOrLoad('node:before', load);
    await tellRun('stop');
    const [value, took] = await timed(cache, 'node:away');
    assert(value === 'by hand' && took < 2000, `${value} after ${took} ms`);
    await tellRun('start');
    const until = Date.now() + TIMEOUT_MS;
    for (let i = 0; !(await storedAt(SERVER, `node:back:${i}`));) {
      assert(Date.now() < until, 'larder is not used again');
      await pause(20);
      assert.equal((await cache.getOrLoad(`node:back:${++i}`, load)).toString(), 'v');
    }
  });
}

async function waitsNoLongerThanItsDeadline() {
  await withCaches([[[SERVER], {deadlineMs: 2000, restMs: TIMEOUT_MS}]], async (cache) => {
    await cache.getOrLoad('node:warm', async () => Buffer.from('v'));
    await tellRun('freeze');
    const [value, took] = await timed(cache, 'node:frozen');
    assert(value === 'by hand' && took > 1800 && took < 8000, `${value} after ${took} ms`);
    const [again, briefly] = await timed(cache, 'node:frozen:2');
    assert(again === 'by hand' && briefly < 1500, `a replica that rests is not asked, but it took ${briefly} ms`);
    await tellRun('thaw');
  });
}

const CASES = [
  loadsOnceForTwentyCallers, loadsOnceForTwoProcesses, othersGoOnWhenALoaderFails, remembersWhatDoesNotExist,
  showsMistakesAndFailedOrigins, repeatsWhatIsUnavailableAndNothingElse, keepsALeaseOnTheReplicaThatGaveIt,
  usesTheReplicasThatAreThere, goesOnWithoutLarderAndComesBack, waitsNoLongerThanItsDeadline,
];

async function main() {
  for (const run of CASES) {
    try {
      await run();
      console.log(`ok      node helper ${run.name}`);
    } catch (error) {
      process.exitCode = 1;
      console.log(`FAILED  node helper ${run.name}\n${error.stack}`);
    }
  }
  await answers.return();
  process.stdin.destroy();
}

main();
