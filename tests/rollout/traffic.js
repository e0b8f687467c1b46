// Calls a fleet through client/node until stdin ends, four calls at a time: traffic.js TARGETS. Prints what traffic.cc prints.

'use strict';
const {LarderCache} = require('./larder_cache.js');

const LOOPS = 4;
const KEYS = 40;
const STEP = 100;

let calls = 0;
let loads = 0;
let fresh = 0;
let over = false;
const failures = [];

async function load(cache, key) {
  try {
    const value = await cache.getOrLoad(key, async () => { ++loads; return Buffer.from(key); });
    if (value?.toString() !== key) failures.push(`${key} is ${value}`);
  } catch (error) {
    failures.push(`${key}: ${error}`);
  }
  if (++calls % STEP === 0) console.log(`calls ${calls}`);
}

async function run(cache, loop) {
  for (let i = 0; !over; ++i) {
    if (i % 10 === 9) { // a load that has to run, and its Set
      await load(cache, `node:fresh:${loop}:${i}`);
      ++fresh;
    } else {
      await load(cache, `node:${(i + loop) % KEYS}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 2)); // leaves the machine to the other programs
  }
}

async function main() {
  const cache = new LarderCache(process.argv[2].split(','), {deadlineMs: 20_000});
  for (let i = 0; i < KEYS; ++i) await load(cache, `node:${i}`);
  console.log('ready');
  process.stdin.on('data', () => {}).on('end', () => { over = true; });
  await Promise.all(Array.from({length: LOOPS}, (_, i) => run(cache, i)));
  cache.close();
  console.log(JSON.stringify({calls, bridged: loads - KEYS - fresh, failures}));
}

main();
