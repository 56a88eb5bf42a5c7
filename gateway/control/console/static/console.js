// What is alive in a page: states by one stream of events, charts, dates in the reader's own words.
// Without this file every page can be read, and every form works.
"use strict";

const byData = (name, value) => document.querySelectorAll(`[data-${name}="${CSS.escape(value)}"]`);

function scaled(value, units) {
  if (value === null || value === undefined) return "–";
  let at = 0;
  while (value >= 1000 && at < units.length - 1) { value /= 1000; at += 1; }
  return `${at === 0 && units[0] ? Math.round(value) : Number(value.toPrecision(3))} ${units[at]}`;
}
const bits = (value) => scaled(value, ["bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s"]);

const known = new Map(); // tunnels as the stream has told them last, by id

function showState(tunnel) {
  known.set(tunnel.id, tunnel);
  for (const place of byData("state-of", tunnel.id)) {
    const state = document.createElement("span");
    const symbol = document.createElement("span");
    state.className = `state ${tunnel.style}`;
    symbol.setAttribute("aria-hidden", "true");
    symbol.textContent = tunnel.symbol;
    state.append(symbol, ` ${tunnel.word}`);
    place.replaceChildren(state);
  }
  for (const path of byData("tunnel", tunnel.id)) {
    const flows = tunnel.style === "up" && (tunnel.in_bps || 0) + (tunnel.out_bps || 0) > 10000;
    path.setAttribute("class", `tunnel ${tunnel.style}${flows ? " flows" : ""}`);
    const title = path.querySelector("title");
    if (title) title.textContent = `${tunnel.name}: ${tunnel.word}${tunnel.code ? ` (${tunnel.code})` : ""}`;
  }
  for (const cell of byData("in-of", tunnel.id)) cell.textContent = bits(tunnel.in_bps);
  for (const cell of byData("out-of", tunnel.id)) cell.textContent = bits(tunnel.out_bps);
  for (const place of [...byData("why-of", tunnel.id), ...byData("reason-of", tunnel.id)]) {
    if ((place.dataset.code || "") === tunnel.code) continue;
    place.dataset.code = tunnel.code;
    place.replaceChildren();
    if (!tunnel.code) continue;
    const box = place.matches("td") ? place : Object.assign(document.createElement("div"), { className: "reason" });
    box.append(Object.assign(document.createElement("code"), { textContent: tunnel.code }), ` ${tunnel.text}`);
    if (box === place) continue;
    for (const [side, text] of [["ours: ", tunnel.ours], ["theirs: ", tunnel.theirs], ["", tunnel.hint]]) {
      if (text) box.append(Object.assign(document.createElement("p"), { className: "hint", textContent: side + text }));
    }
    place.append(box);
  }
}

// What only the server knows, such as which tunnel needs somebody first, is taken from a newer page:
// when states change, and every few seconds where the stream does not tell of it.
const FRESH = "[data-fresh]";
const POLLED = '[data-fresh="poll"]';
const POLL_MS = 5000;
const REFRESH_MS = 3000; // at most so often, however much changes
let refreshing = 0;
let isOld = false; // something has changed since the last refresh began

function refreshSoon() {
  isOld = true;
  if (refreshing || !document.querySelector(FRESH)) return;
  refreshing = setTimeout(refresh, 500);
}

async function refresh() {
  isOld = false;
  const answer = await fetch(location.href).catch(() => null);
  if (answer && answer.ok) {
    const newer = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const place of document.querySelectorAll(FRESH)) {
      const found = newer.getElementById(place.id);
      if (place.contains(document.activeElement)) continue;
      if (!found) { place.remove(); continue; }
      place.replaceWith(found);
      localTimes(found);
    }
    known.forEach(showState);
  }
  setTimeout(() => {
    refreshing = 0;
    if (isOld) refreshSoon();
  }, REFRESH_MS);
}

// A page that is not told what changes says so, instead of showing what may be over.
const STALE_MS = 3000;
const REFUSED_MS = 15000; // until a stream that was refused is asked for again
let stale = 0;

function isLive(live) {
  const said = document.getElementById("said");
  if (live) {
    clearTimeout(stale);
    stale = 0;
    said.textContent = "";
  } else if (!stale) {
    stale = setTimeout(() => { said.textContent = "Not connected: what is shown may be over."; }, STALE_MS);
  }
}

// A browser has few connections to one host, so a page that nobody looks at has no stream.
function follow(address) {
  if (document.hidden) {
    const back = () => { refreshSoon(); follow(address); };
    document.addEventListener("visibilitychange", back, { once: true });
    return;
  }
  const stream = new EventSource(address);
  let counts = "";
  let alarms = null;
  let over = false;
  const again = (waitMs) => {
    if (over) return;
    over = true;
    stream.close();
    setTimeout(() => follow(address), waitMs);
  };
  const leave = () => { isLive(true); again(0); };
  document.addEventListener("visibilitychange", leave, { once: true });
  stream.addEventListener("open", () => isLive(true));
  stream.addEventListener("tunnels", (event) => JSON.parse(event.data).forEach(showState));
  stream.addEventListener("counts", (event) => {
    if (counts && counts !== event.data) refreshSoon();
    counts = event.data;
    for (const [state, count] of Object.entries(JSON.parse(event.data))) {
      for (const place of byData("count", state)) place.textContent = count;
    }
  });
  stream.addEventListener("alarms", (event) => {
    const count = JSON.parse(event.data);
    if (alarms !== null && alarms !== count) refreshSoon();
    alarms = count;
    for (const badge of document.querySelectorAll("[data-alarms]")) {
      badge.textContent = count;
      badge.hidden = count === 0;
    }
  });
  stream.addEventListener("error", () => {
    isLive(false);
    // A broken stream comes again by itself; one that is refused (too many are open) does not.
    if (stream.readyState === EventSource.CLOSED) again(REFUSED_MS);
  });
}

function localTimes(root) {
  for (const time of root.querySelectorAll("time[datetime]")) {
    const at = new Date(time.dateTime);
    if (time.dataset.local || Number.isNaN(at.getTime())) continue;
    time.dataset.local = "1";
    time.title = time.dateTime;
    time.textContent = "clock" in time.dataset
      ? at.toLocaleTimeString([], { hourCycle: "h23", hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3 })
      : at.toLocaleString();
  }
}

const CHARTS = {
  bps: [["in", "in_bps"], ["out", "out_bps"]],
  pps: [["in", "in_pps"], ["out", "out_pps"]],
  drops: [["drops", "drops_ps"]],
  rtt: [["inside", "inside_ms"], ["outside", "outside_ms"]],
  loss: [["inside", "inside_loss"], ["outside", "outside_loss"]],
};

function chart(place, series, history) {
  const style = getComputedStyle(document.documentElement);
  const colours = [style.getPropertyValue("--accent"), style.getPropertyValue("--connecting")];
  const axis = { stroke: style.getPropertyValue("--soft"), grid: { stroke: style.getPropertyValue("--line"), width: 1 }, size: 60 };
  const data = [history.at, ...series.map(([, name]) => history[name] || [])];
  const wide = () => Math.max(200, place.parentElement.clientWidth);
  const plot = new uPlot({
    width: wide(), height: 180, cursor: { y: false }, legend: { live: false }, scales: { y: { range: (_, low, high) => [0, Math.max(1, high * 1.1)] } },
    axes: [axis, { ...axis, values: (_, ticks) => ticks.map((tick) => scaled(tick, ["", "k", "M", "G"])) }],
    series: [{}, ...series.map(([label], at) => ({ label, stroke: colours[at], width: 2, points: { show: false }, fill: at === 0 ? `${colours[at].trim()}22` : undefined }))],
  }, data, place);
  addEventListener("resize", () => plot.setSize({ width: wide(), height: 180 }));
  return (newer) => plot.setData([newer.at, ...series.map(([, name]) => newer[name] || [])]);
}

// Buttons for the time that charts show, where Prometheus knows more than the last hour.
function spans(group, draw) {
  let span = "";
  if (!group) return () => span;
  group.hidden = false;
  group.addEventListener("click", async (event) => {
    const chosen = event.target.closest("[data-span]");
    if (!chosen) return;
    span = chosen.dataset.span;
    for (const one of group.querySelectorAll("[data-span]")) one.setAttribute("aria-pressed", String(one === chosen));
    await draw();
  });
  return () => span;
}

async function charts(root) {
  const group = root.parentElement.querySelector("[data-spans]");
  const said = group ? group.querySelector("[role=status]") : null;
  const load = async () => {
    const span = shown();
    const address = root.dataset.series + (span ? `?span=${encodeURIComponent(span)}` : "");
    const answer = await fetch(address, { headers: { Accept: "application/json" } });
    const found = await answer.json().catch(() => ({}));
    if (span !== shown()) return null; // another was chosen meanwhile
    if (said) said.textContent = answer.ok ? "" : found.detail || "The charts can not be loaded.";
    return answer.ok ? found : null;
  };
  const again = async () => {
    const newer = await load();
    if (newer) refresh.forEach((draw) => draw(newer));
  };
  const shown = spans(group, again);
  let refresh = [];
  const first = await load();
  if (!first) return;
  refresh = Object.entries(CHARTS).map(([name, series]) => {
    const place = root.querySelector(`[data-chart="${name}"]`);
    return place ? chart(place, series, first) : () => {};
  });
  let count = 0;
  setInterval(() => {
    count += 1;
    if (!document.hidden && (!shown() || count % 12 === 0)) again();
  }, 5000);
}

// Fields that belong to one choice alone are shown only with it.
function onlyWith(field) {
  const [name, value] = field.dataset.onlyWith.split("=");
  const chosen = field.closest("form").elements[name];
  const show = () => { field.hidden = chosen.value !== value; };
  chosen.addEventListener("change", show);
  show();
}

localTimes(document);
document.querySelectorAll("[data-only-with]").forEach(onlyWith);
document.querySelectorAll("[data-series]").forEach(charts);
setInterval(() => { if (!document.hidden && document.querySelector(POLLED)) refreshSoon(); }, POLL_MS);
if (document.body.dataset.stream) follow(document.body.dataset.stream);
document.body.addEventListener("htmx:afterSwap", (event) => localTimes(event.target));
