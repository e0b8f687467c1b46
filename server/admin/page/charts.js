// The charts of the dashboard, and what they are drawn from: the server's history when the page is opened, and from then on
// what the page sees itself. Loaded before dashboard.js, which has what is used here of both.
'use strict';

const TEN_MINUTES_S = 600;
// How old the day's samples may be: the server adds one every two minutes.
const DAY_OLD_S = 60;

// Counters of the last ten minutes, and what they come to: {at, calls, hits, reads, evictions, callsRate, evictionsRate, ratio}; of
// those that the page has seen itself, `shed`, too. `at` is in seconds since the epoch, by the server's clock.
let samples = [];
let day = [];
let dayAsked = -Infinity;
let range = 'ten-minutes';
// From the page's own clock, which nobody sets, to the server's.
let serverAhead = 0;

const pageNow = () => performance.now() / 1000;

function addRates(before, now) {
  const passed = Math.max(now.at - before.at, 0.001);
  now.callsRate = (now.calls - before.calls) / passed;
  now.evictionsRate = (now.evictions - before.evictions) / passed;
  now.ratio = now.reads > before.reads ? (now.hits - before.hits) / (now.reads - before.reads) : null;
}

function samplesOf(history, rows) {
  const made = rows.map(row => {
    const named = Object.fromEntries(history.columns.map((name, i) => [name, row[i]]));
    return {...named, at: named.at_ms / 1000};
  });
  made.forEach((now, i) => {
    // Nothing is known of a time in which the server's clock was set back.
    if (i > 0 && now.at > made[i - 1].at) addRates(made[i - 1], now);
  });
  return made;
}

// Begins anew with what the server remembers: of another start, or for a page that was just opened.
function takeHistory(history) {
  serverAhead = history.now_ms / 1000 - pageNow();
  // Of two samples that are too near no rate can be told.
  samples = samplesOf(history, history.ten_minutes.filter(row => row[0] < history.now_ms - 1000));
  takeDay(history);
}

function takeDay(history) {
  day = samplesOf(history, history.day);
  dayAsked = pageNow();
}

const dayIsOld = () => range === 'day' && pageNow() - dayAsked > DAY_OLD_S;

function addSample(stats, status) {
  const total = stats.total ?? {};
  const now = {
    at: pageNow() + serverAhead, calls: (stats.latencies ?? []).reduce((sum, l) => sum + number(l.count), 0),
    hits: number(total.hits), reads: number(total.hits) + number(total.misses), evictions: number(total.evictions),
    shed: status.shed,
  };
  if (samples.length > 0) addRates(samples[samples.length - 1], now);
  samples.push(now);
  samples = samples.filter(s => s.at > now.at - TEN_MINUTES_S);
  return now;
}

const svg = (tag, attributes) => {
  const node = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
};

// points: [{at, value}], null where nothing is known. Draws 0 to `top`.
function chart(id, points, top, show) {
  const last = points[points.length - 1];
  byId(id).dataset.from = points[0]?.at ?? '';
  if (!points.some(p => p.value !== null)) {
    byId(id).replaceChildren(el('p', 'empty', 'Nothing to draw yet.'));
    return;
  }
  const from = points[0].at, span = Math.max(last.at - from, 1);
  const x = p => (1000 * (p.at - from) / span).toFixed(1);
  const y = p => (100 - 96 * Math.min(p.value / top, 1)).toFixed(2);
  const picture = svg('svg', {viewBox: '0 0 1000 100', preserveAspectRatio: 'none', role: 'img'});
  picture.append(svg('line', {class: 'grid', x1: 0, x2: 1000, y1: 4, y2: 4}), svg('line', {class: 'grid', x1: 0, x2: 1000, y1: 100, y2: 100}));
  // One line for each stretch without holes.
  let run = [];
  const flush = () => {
    if (run.length > 1) {
      const line = run.map(p => `${x(p)},${y(p)}`).join(' ');
      picture.append(svg('polygon', {class: 'area', points: `${x(run[0])},100 ${line} ${x(run[run.length - 1])},100`}),
        svg('polyline', {class: 'line', points: line}));
    }
    run = [];
  };
  for (const p of points) {
    if (p.value === null) flush();
    else run.push(p);
  }
  flush();
  byId(id).replaceChildren(picture, el('span', 'note top', show(top)), el('span', 'note bottom', show(0)),
    el('span', 'note last', last.value === null ? '–' : show(last.value)), el('span', 'note span', `last ${time(span)}`));
}

// The next 1, 2 or 5 with zeros.
function niceTop(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map(step => step * power).find(step => step >= value);
}

function drawCharts() {
  // Of the day, its last ten minutes as they are seen otherwise: a server that is young has no more.
  const seen = range === 'day' ? [...day.filter(s => s.at < samples[0].at), ...samples] : samples;
  const known = seen.filter(s => s.callsRate !== undefined);
  const highest = Math.max(0, ...known.map(s => s.callsRate));
  chart('calls-chart', known.map(s => ({at: s.at, value: s.callsRate})), niceTop(highest), rate);
  chart('ratio-chart', known.map(s => ({at: s.at, value: s.ratio})), 1, value => `${Math.round(100 * value)}%`);
}
