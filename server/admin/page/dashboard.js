// The dashboard asks /stats.json and /status.json every two seconds and shows the answers; charts.js draws the curves. Whatever comes from the server
// goes into the page as text and never as HTML: keys are chosen by callers, and may hold markup.
'use strict';

const EVERY_MS = 2000;
const ANSWER_MS = 5000;
const OLD_WRITE_S = 60;
const LATELY_S = 60;
const DAY_S = 86400;
const CERTIFICATE_WARN_S = 14 * DAY_S;
const CERTIFICATE_BAD_S = 2 * DAY_S;
// While it has no right to see anything: each attempt is written down over there.
const DENIED_EVERY_MS = 10000;

const byId = id => document.getElementById(id);

function el(tag, className, ...children) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  node.append(...children);
  return node;
}

// Numbers of 64 bits come as strings.
const number = value => Number(value ?? 0);
// Durations come as `0.001500s`.
const seconds = value => parseFloat(value ?? '0') || 0;

function count(value) {
  return Math.round(number(value)).toLocaleString('en');
}

function rate(value) {
  return value >= 100 || value === 0 ? count(value) : value.toPrecision(2);
}

function bytes(value) {
  let left = number(value), unit = 0;
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  while (left >= 1024 && unit < units.length - 1) {
    left /= 1024;
    ++unit;
  }
  return `${unit === 0 || left >= 100 ? Math.round(left) : left.toFixed(1)} ${units[unit]}`;
}

function percent(value) {
  return value === null ? '–' : `${(100 * value).toFixed(1)}%`;
}

function time(value) {
  const s = typeof value === 'number' ? value : seconds(value);
  if (s === 0) return '0';
  if (s < 0.001) return `${Math.round(s * 1e6)} µs`;
  if (s < 1) return `${(s * 1000).toPrecision(3)} ms`;
  if (s < 120) return `${s.toFixed(s < 10 ? 1 : 0)} s`;
  if (s < 7200) return `${Math.round(s / 60)} min`;
  return s < 172800 ? `${Math.round(s / 3600)} h` : `${Math.round(s / 86400)} d`;
}

const ratioOf = usage => {
  const reads = number(usage.hits) + number(usage.misses);
  return reads === 0 ? null : number(usage.hits) / reads;
};

// A table whose columns are {name, of, show, text}: `of` gives what is sorted by, `show` what is written.
class Table {
  constructor(id, empty, columns, sortable) {
    this.columns = columns;
    this.empty = empty;
    this.rows = [];
    this.by = null;
    this.body = el('tbody');
    this.heads = columns.map((column, i) => {
      const head = el('th', column.text ? 'text' : '');
      head.scope = 'col';
      if (!sortable) {
        head.append(column.name);
        return head;
      }
      const button = el('button', '', column.name);
      button.type = 'button';
      button.addEventListener('click', () => this.sort(i));
      head.append(button);
      return head;
    });
    this.head = el('thead', '', el('tr', '', ...this.heads));
    byId(id).replaceChildren(this.head, this.body);
    this.draw();
  }

  sort(i) {
    // Names begin at A, figures with the largest.
    const first = this.columns[i].text ? 1 : -1;
    this.up = this.by === i ? -this.up : first;
    this.by = i;
    this.heads.forEach((head, at) => {
      if (at === i) head.setAttribute('aria-sort', this.up > 0 ? 'ascending' : 'descending');
      else head.removeAttribute('aria-sort');
    });
    this.draw();
  }

  set(rows) {
    this.rows = rows;
    this.draw();
  }

  draw() {
    this.head.hidden = this.rows.length === 0;
    if (this.rows.length === 0) {
      const cell = el('td', 'empty', this.empty);
      cell.colSpan = this.columns.length;
      this.body.replaceChildren(...(this.empty ? [el('tr', '', cell)] : []));
      return;
    }
    const rows = [...this.rows];
    if (this.by !== null) {
      const of = this.columns[this.by].of;
      const rank = value => (value === null ? -1 : value);
      rows.sort((a, b) => {
        const x = rank(of(a)), y = rank(of(b));
        return this.up * (x < y ? -1 : x > y ? 1 : 0);
      });
    }
    this.body.replaceChildren(...rows.map(row => el('tr', '', ...this.columns.map(column => {
      const value = column.of(row);
      const bad = column.bad && column.bad(row) ? ' bad' : '';
      const cell = el('td', (column.text ? 'text' : '') + (column.long ? ' long' : '') + bad,
        column.show ? column.show(value) : String(value));
      if (column.text && !column.long) cell.title = String(value);
      return cell;
    }))));
  }
}

const tables = {
  types: new Table('types', 'There are no data types.', [
    {name: 'type', of: t => t.type, text: true},
    {name: 'bytes', of: t => number(t.usage.bytes), show: bytes},
    {name: 'entries', of: t => number(t.usage.entries), show: count},
    {name: 'hit ratio', of: t => ratioOf(t.usage), show: percent},
    {name: 'hits', of: t => number(t.usage.hits), show: count},
    {name: 'misses', of: t => number(t.usage.misses), show: count},
    {name: 'stale', of: t => number(t.usage.stale_hits), show: count},
    {name: 'loads', of: t => number(t.usage.loads), show: count},
    {name: 'failed', of: t => number(t.usage.loads_failed), show: count, bad: t => number(t.usage.loads_failed) > 0},
    {name: 'evictions', of: t => number(t.usage.evictions), show: count},
  ], true),
  hot: new Table('hot', 'No key has been read often yet.', [
    {name: 'key', of: k => k.key, text: true},
    {name: 'type', of: k => k.type, text: true},
    {name: 'namespace', of: k => k.namespace, text: true},
    {name: 'hits', of: k => number(k.hits), show: count},
    {name: 'misses', of: k => number(k.misses), show: count},
    {name: 'hit ratio', of: k => ratioOf(k), show: percent},
    {name: 'sent', of: k => number(k.bytes), show: bytes},
  ], true),
  rpcs: new Table('rpcs', 'No calls yet. Try `larder set user:42 hello`.', [
    {name: 'call', of: r => r.rpc, text: true},
    {name: 'calls', of: r => number(r.count), show: count},
    {name: 'errors', of: r => number(r.errors), show: count, bad: r => number(r.errors) > 0},
    {name: 'half', of: r => seconds(r.p50), show: time},
    {name: '99%', of: r => seconds(r.p99), show: time},
    {name: '99.9%', of: r => seconds(r.p999), show: time},
    {name: 'slowest', of: r => seconds(r.max), show: time},
  ], true),
  tiers: new Table('tiers', 'There are no tiers.', [
    {name: 'tier', of: t => `${t.tier === 'TIER_L1' ? 'L1' : 'L2'} ${t.kind}`, text: true},
    {name: 'state', of: t => t.state, text: true, long: true, bad: t => t.state !== 'ok'},
    {name: 'bytes', of: t => number(t.bytes), show: bytes},
    {name: 'hits', of: t => number(t.hits), show: count},
    {name: 'misses', of: t => number(t.misses), show: count},
    {name: 'errors', of: t => number(t.errors), show: count, bad: t => number(t.errors) > 0},
  ], false),
  breakers: new Table('breakers', 'There is nothing below memory that a breaker guards.', [
    {name: 'guards', of: b => b.name, text: true},
    {name: 'state', of: b => breakerWord(b), text: true, bad: b => breakerWord(b) !== 'closed'},
    {name: 'opened', of: b => number(b.opened), show: count},
    {name: 'last reason', of: b => b.reason, text: true, long: true},
  ], false),
  journalTypes: new Table('journal-types', '', [
    {name: 'type', of: t => t.type, text: true},
    {name: 'waiting', of: t => number(t.depth), show: count},
    {name: 'oldest', of: t => seconds(t.oldest_age), show: time},
    {name: 'delivered', of: t => number(t.delivered), show: count},
    {name: 'dead', of: t => number(t.dead), show: count, bad: t => number(t.dead) > 0},
  ], false),
  replicas: new Table('replicas', '', [
    {name: 'replica (node.id)', of: r => r.node_id},
    {name: 'state', of: r => r.state, text: true, bad: r => r.state === 'silent'},
    {name: 'heard', of: r => r.heard_ago_ms / 1000, show: s => `${time(s)} ago`},
    {name: 'frames', of: r => r.frames, show: count},
  ], false),
  origins: new Table('origins', 'No origin is configured.', [
    {name: 'origin', of: o => `${o.name} (${o.kind})`, text: true},
    {name: 'state', of: o => o.state, text: true, long: true, bad: o => o.state !== 'ok'},
    {name: 'loads', of: o => number(o.load_items), show: count},
    {name: 'stores', of: o => number(o.store_items), show: count},
    {name: 'errors', of: o => number(o.errors) + number(o.item_errors), show: count, bad: o => number(o.errors) > 0},
    {name: 'timeouts', of: o => number(o.timeouts), show: count, bad: o => number(o.timeouts) > 0},
    {name: 'under way', of: o => number(o.under_way), show: count},
    {name: 'queued', of: o => number(o.queued), show: count},
  ], false),
  settings: new Table('settings', 'Everything has its default.', [
    {name: 'setting', of: s => s.path, text: true},
    {name: 'value', of: s => s.value, text: true, long: true},
    {name: 'from', of: s => s.source, text: true, long: true},
  ], false),
};

function breakerWord(breaker) {
  return {BREAKER_STATE_CLOSED: 'closed', BREAKER_STATE_OPEN: 'open'}[breaker.state] ?? 'half open';
}

function definitions(id, empty, pairs) {
  byId(id).replaceChildren(...(pairs.length === 0 ? [el('dd', 'empty', empty)] :
    pairs.flatMap(([name, value]) => [el('dt', '', name), el('dd', '', value)])));
}

// Why calls are refused, and what to do. `memory` has a sentence of its own while it lasts.
const REFUSED = {
  in_flight: calls => `as many were under way as may be, ${count(calls.limit)}. ` +
    'An origin that stands still holds them, or more replicas are needed.',
  peer: () => 'one address had more under way than limits.in_flight_per_peer allows. Find it.',
  bytes: () => 'the calls under way held as many bytes as limits.buffer_bytes allows. Smaller batches, or more replicas.',
  peer_bytes: () => 'one address held more than limits.buffer_bytes_per_peer allows: it asks for much, or does not read. Find it.',
  queue_time: () => 'others had waited too long for a worker. The CPU does not keep up: more of it, or more replicas.',
  memory: () => 'memory was short. Give the container more, or larder less (memory.l1).',
  quota: () => 'their namespace had used up its quota. Ask its owners what grew, or raise it (quotas).',
};

// What the machine's owner has to see to: refused calls, memory, configuration, certificates. `refused`: how many calls
// were lately, by why.
function serverTroubles(status, refused, add) {
  if (status.memory_tight) {
    add('bad', `Memory is about to run out: writes and batches are refused, ${count(status.shed.memory)} since the start. ` +
      'Give the container more, or larder less (memory.l1).');
  }
  for (const [why, calls] of Object.entries(refused)) {
    if (calls === 0 || (why === 'memory' && status.memory_tight)) continue;
    const told = REFUSED[why]?.(status.calls) ?? `${why}.`;
    add('warn', `${count(calls)} ${calls === 1 ? 'call was' : 'calls were'} refused in the last minute: ${told}`);
  }
  const config = status.config;
  if (!config.last_ok) {
    const good = new Date(config.last_good_ms).toLocaleString();
    add('warn', `The configuration was wrong when it was read last; that of ${good} is in effect, and a restart would fail ` +
      `(refused since the start: ${count(config.refused)}). What to correct: ${config.trouble}`);
  }
  // Lanes that show the same one are told together.
  const lanes = new Map();
  for (const c of status.certificates) lanes.set(c.ends_ms, [...(lanes.get(c.ends_ms) ?? []), c.lane]);
  for (const [ends, names] of lanes) {
    const left = (ends - Date.now()) / 1000;
    if (left > CERTIFICATE_WARN_S) continue;
    const when = left > 0 ? `ends in ${time(left)}` : `ended ${time(-left)} ago`;
    add(left > CERTIFICATE_BAD_S ? 'warn' : 'bad', `The certificate that callers see (${names.join(', ')}) ${when}. ` +
      'Put a new one in its place: it needs no restart.');
  }
}

// What is wrong: [how bad, sentence].
function troubles(stats, status, refused) {
  const found = [];
  const add = (how, sentence) => found.push([how, sentence]);
  if (!status.ready) add('bad', `Not ready: ${status.why}.`);
  for (const b of stats.breakers ?? []) {
    const word = breakerWord(b);
    if (word !== 'closed') add(word === 'open' ? 'bad' : 'warn', `The breaker of ${b.name} is ${word}${b.reason ? `: ${b.reason}` : ''}.`);
  }
  for (const t of stats.tiers ?? []) if (t.state !== 'ok') add('warn', `The second tier (${t.kind}): ${t.state}.`);
  for (const o of stats.origins ?? []) if (o.state !== 'ok') add('warn', `The origin ${o.name}: ${o.state}.`);
  const memory = stats.memory ?? {};
  if (number(memory.used_bytes) > number(memory.budget_bytes)) add('warn', 'Memory is above its budget and is being given back.');
  const journal = stats.journal;
  if (journal) {
    if (journal.state !== 'ok') add('bad', `The journal takes no writes: ${journal.state}.`);
    if (number(journal.dead_letters) > 0) add('warn', `${count(journal.dead_letters)} dead letters wait for somebody.`);
    if (seconds(journal.oldest_age) > OLD_WRITE_S) add('warn', `A write has been waiting in the journal for ${time(journal.oldest_age)}.`);
    for (const origin of journal.paused ?? []) add('warn', `Delivery to ${origin} is paused.`);
  }
  const fleet = stats.fleet;
  if (fleet) {
    if (fleet.state !== 'following') add('warn', `The bus: ${fleet.state}.`);
    if (fleet.suspect) add('warn', 'Copies in memory are checked before they are served: messages may have been missed.');
    if (number(fleet.node_id_shared) > 0) add('bad', 'Another replica has the same node.id.');
  }
  for (const r of status.replicas) {
    if (r.state !== 'silent') continue;
    add('warn', `Replica ${r.node_id} has not been heard for ${time(r.heard_ago_ms / 1000)} and said no goodbye: is it down, or cut off?`);
  }
  serverTroubles(status, refused, add);
  return found;
}

function showVerdict(how, sentence, list) {
  byId('verdict').className = how;
  byId('sentence').textContent = sentence;
  byId('troubles').replaceChildren(...list.map(text => el('li', '', text)));
}

// How many calls were refused lately, by why, as far as this page has looked.
function refusedLately(now) {
  const before = samples.find(s => s.shed && s.at >= now.at - LATELY_S);
  return Object.fromEntries(Object.entries(now.shed).map(([why, calls]) => [why, calls - (before.shed[why] ?? 0)]));
}

function drawTiles(stats, sample) {
  const memory = stats.memory ?? {}, total = stats.total ?? {};
  const busiest = [...(stats.latencies ?? [])].sort((a, b) => number(b.count) - number(a.count))[0];
  byId('tiles').replaceChildren(...[
    [sample.callsRate === undefined ? '–' : rate(sample.callsRate), 'calls a second'],
    [percent(ratioOf(total)), 'hit ratio since the start'],
    [busiest ? time(busiest.p99) : '–', busiest ? `${busiest.rpc}: 99% are faster` : 'no calls yet'],
    [`${bytes(memory.used_bytes)}`, `of ${bytes(memory.budget_bytes)} of memory`],
    [count(total.entries), 'entries'],
    [sample.evictionsRate === undefined ? '–' : rate(sample.evictionsRate), 'evictions a second'],
  ].map(([figure, what]) => el('div', '', el('b', '', figure), el('span', '', what))));
}

function drawJournal(journal) {
  definitions('journal', 'No data type writes behind.', !journal ? [] : [
    ['state', journal.state],
    ['waiting', `${count(journal.depth)} writes, ${bytes(journal.bytes)}`],
    ['oldest', time(journal.oldest_age)],
    ['dead letters', count(journal.dead_letters)],
    ['on disk', bytes(journal.bytes_on_disk)],
  ]);
  tables.journalTypes.set(journal?.types ?? []);
}

function drawFleet(fleet, replicas) {
  tables.replicas.set(replicas);
  definitions('fleet', 'This replica is alone: there is no bus.', !fleet ? [] : [
    ['state', fleet.state],
    ['others alive', count(fleet.replicas)],
    ['lag', `${time(fleet.lag)}, 99% below ${time(fleet.lag_p99)}`],
    ['sent, received', `${count(fleet.published)}, ${count(fleet.received)}`],
    ['gaps', count(fleet.gaps)],
    ['copies', fleet.suspect ? 'suspect: checked before they are served' : 'trusted'],
  ]);
}

function show(stats, status) {
  const sample = addSample(stats, status);
  const list = troubles(stats, status, refusedLately(sample));
  const how = list.some(([one]) => one === 'bad') ? 'bad' : list.length > 0 ? 'warn' : 'good';
  const calls = sample.callsRate === undefined ? '' : `, ${rate(sample.callsRate)} calls a second`;
  showVerdict(how, how === 'good' ? `All is well: ready${calls}.` : how === 'bad' ? 'Something is wrong.' : 'It works, but look at this.',
    list.map(([, sentence]) => sentence));
  drawTiles(stats, sample);
  drawCharts();
  tables.types.set((stats.types ?? []).map(type => ({...type, usage: type.usage ?? {}})));
  tables.hot.set(stats.hot_keys ?? []);
  tables.rpcs.set(stats.latencies ?? []);
  tables.tiers.set(stats.tiers ?? []);
  tables.breakers.set(stats.breakers ?? []);
  tables.origins.set(stats.origins ?? []);
  drawJournal(stats.journal);
  drawFleet(stats.fleet, status.replicas);
  byId('figures').className = '';
}

let config = null;

function drawSettings() {
  const given = byId('given').checked;
  tables.settings.set((config?.settings ?? []).filter(s => !given || s.source !== 'default'));
}
byId('given').addEventListener('change', drawSettings);

async function ask(path) {
  // The header keeps the browser from asking for a token in a window of its own, again and again: this page says it. The
  // origin, because the page's address may hold the token, and browsers ask for nothing by such addresses.
  const answer = await fetch(location.origin + path,
    {cache: 'no-store', headers: {'X-Requested-With': 'larder'}, signal: AbortSignal.timeout(ANSWER_MS)});
  if (answer.ok) return answer.json();
  const error = new Error(`${path} answered ${answer.status}: ${(await answer.text()).trim()}`);
  error.denied = answer.status === 401 || answer.status === 403;
  throw error;
}

function showNothing(error) {
  byId('figures').className = 'stale';
  const seen = lastSeen ? `What is below is from ${lastSeen.toLocaleTimeString()}.` : 'Nothing is known of it yet.';
  if (error.denied) {
    showVerdict('bad', 'A token is needed.', [
      'Load this page again and give the token of a caller with admin as the password. ' +
        'The one that it was opened with is not, or no longer, one of those.',
      `${seen} (${error.message})`]);
  } else {
    showVerdict('bad', 'larder does not answer.', [`${seen} Asking again every ${EVERY_MS / 1000} seconds. (${error.message})`]);
  }
}

for (const button of document.querySelectorAll('#range button')) {
  button.addEventListener('click', () => {
    range = button.value;
    for (const one of document.querySelectorAll('#range button')) one.setAttribute('aria-pressed', String(one === button));
    // With the next answers, if it is not there now.
    if (!dayIsOld() && samples.length > 0) drawCharts();
  });
}

let configFor = null;
let historyFor = null;
let lastSeen = null;

async function update() {
  let stats, status, complete = false, again = EVERY_MS;
  try {
    [stats, status] = await Promise.all([ask('/stats.json'), ask('/status.json')]);
    // Of each start, and each time that it was read there, once.
    const version = `${stats.since} ${status.config.read}`;
    if (configFor !== version) {
      config = await ask('/config.json');
      configFor = version;
      drawSettings();
    }
    if (historyFor !== stats.since) {
      takeHistory(await ask('/history.json'));
      historyFor = stats.since;
    } else if (dayIsOld()) {
      takeDay(await ask('/history.json'));
    }
    complete = true;
  } catch (error) {
    showNothing(error);
    if (error.denied) again = DENIED_EVERY_MS;
  }
  if (complete) {
    // A mistake in here must not be told as one of the server's.
    try {
      const up = (Date.now() - config.started_ms) / 1000;
      byId('who').textContent = `${stats.node} · version ${config.version} · up ${time(Math.max(up, 0))}`;
      document.title = `larder · ${stats.node}`;
      show(stats, status);
      lastSeen = new Date();
    } catch (error) {
      showVerdict('bad', 'This page cannot show what larder answers.', [error.message]);
    }
  }
  setTimeout(update, again);
}

update();
