// What is shown, and its address. `view` holds places in the index; the address names things as people do.
const view = { part: null, left: null, right: null, show: "", order: "", of: null, search: "", item: null, row: null, token: null };
const CHOICES = ["show", "order"];
const side = document.getElementById("side");
let listed = []; // places of the part's items that pass, in their order
let current = null; // the item's tokens by row; null until they stand on the page
let ticket = 0;

const parts = index.parts.map((part) => ({ ...part, ...pick(index.tasks[part.task]), haystack: null }));

function pick({ group, task, seed, questions }) {
  return { group, name: task, without: seed, questions };
}

const rowOf = (place) => view.part.rows.find((row) => row.row === place);
const shownRows = () => [...new Set([view.left, view.right])].filter((place) => place !== null);
const rowName = (place) => index.groups[view.part.group].rows[place];
const shownOf = (item, place) => item[2][view.part.rows.findIndex((row) => row.row === place)];
const itemShown = () => (view.item === null ? null : view.part.items[view.item]);

// Vanilla and the tuned one that is the page's subject, as far as the part has them.
function usual(part) {
  const looks = part.rows.map((row) => index.groups[part.group].looks[row.row]);
  const place = (look) => part.rows[looks.indexOf(look)]?.row ?? null;
  const last = part.rows.at(-1).row;
  const right = place("sdft") ?? last;
  const left = place("vanilla") ?? part.rows.find((row) => row.row !== right)?.row ?? null;
  return left === right || left === null ? { left: right, right: null } : { left, right };
}

function setPart(part, { left, right, of } = {}) {
  const known = (place) => part.rows.some((row) => row.row === place);
  const before = view.part?.group === part.group ? view : {};
  const own = usual(part);
  view.part = part;
  view.left = [left, before.left].find(known) ?? own.left;
  view.right = [right, before.right].find(known) ?? own.right;
  if (view.right === view.left) view.right = part.rows.length > 1 ? [own.left, own.right].find((place) => place !== view.left) : null;
  view.of = [of, before.of].find((place) => shownRows().includes(place)) ?? view.right ?? view.left;
}

function list() {
  const { part } = view;
  const words = view.search.toLowerCase().split(/\s+/).filter(Boolean);
  if (words.length) part.haystack ??= part.items.map((item) => haystack(part, item));
  const told = part.items.map((item) => shownOf(item, view.of)?.[1] ?? null);
  listed = [...part.items.keys()].filter((place) => passes(told[place]) && words.every((word) => part.haystack[place].includes(word)));
  const value = { kl: ([, , , kl]) => kl, share: ([total, , shifted]) => shifted / total }[view.order];
  if (value) {
    const values = told.map((each) => (each ? value(each) : -Infinity));
    listed.sort((one, other) => values[other] - values[one] || one - other);
  }
}

function haystack(part, [question, , shown]) {
  return [...part.questions[question], ...shown.map((each) => each?.[0])].join("\n").toLowerCase();
}

function passes(told) {
  if (!view.show) return true;
  if (!told) return false;
  const [, marginal, shifted] = told;
  return { shifted: shifted > 0, moved: marginal + shifted > 0, none: marginal + shifted === 0 }[view.show];
}

// --- drawing

function drawControls() {
  const { part } = view;
  const several = index.groups.length > 1;
  const tasks = new Map(parts.map((each) => [String(each.task), several ? `${index.groups[each.group].heading}: ${each.name}` : each.name]));
  options("task", [...tasks], part.task);
  options("seed", parts.filter((each) => each.task === part.task).map((each) => [each.seed, each.seed]), part.seed);
  const rows = part.rows.map((row) => [row.row, rowName(row.row)]);
  options("left", rows, view.left);
  options("right", rows, view.right);
  options("of", rows.filter(([place]) => shownRows().includes(place)), view.of);
  for (const id of ["left", "right"]) document.getElementById(id).parentElement.hidden = rows.length < 3;
  document.getElementById("of").parentElement.hidden = rows.length < 2;
  for (const id of CHOICES) document.getElementById(id).value = view[id];
  const search = document.getElementById("search");
  if (search.value !== view.search) search.value = view.search;
}

function options(id, entries, value) {
  fill(id, entries);
  document.getElementById(id).value = String(value ?? "");
}

function say(more = "") {
  const all = view.part.items.length;
  const place = listed.indexOf(view.item);
  const of = listed.length === all ? `${count(all)}` : `${count(listed.length)} (of ${count(all)})`;
  const text = place < 0 ? `No response is chosen by this; there are ${count(all)}` : `response ${count(place + 1)} of ${of}`;
  document.getElementById("where").textContent = more ? `${text}. ${more}` : text;
}

async function draw(message = "") {
  const mine = ticket += 1;
  current = null;
  list();
  if (!listed.includes(view.item)) Object.assign(view, { item: listed[0] ?? null, row: null, token: null });
  drawControls();
  const item = itemShown();
  const tokens = item ? await unpacked(item[1]) : null;
  if (mine !== ticket) return false;
  current = tokens;
  const { part } = view;
  const question = item && part.questions[item[0]];
  document.getElementById("name").textContent = item ? `${part.name} · ${question[0]}` : "";
  document.getElementById("prompt").textContent = item ? question[1] : "";
  document.getElementById("asked").hidden = !item;
  side.replaceChildren(...(item ? [seedColumn({ seed: part.without }, question)] : []),
    ...(item ? shownRows().map((place) => tunedColumn(part.group, rowOf(place), shownOf(item, place), tokens[place])) : []));
  select(view.row, view.token);
  say(message);
  return true;
}

const tokenAt = (row, place) => side.querySelector(`.token[data-row="${row}"][data-place="${place}"]`);

function tellOf(row, place) {
  if (current) tell(rowOf(row), shownOf(itemShown(), row), current[row], place);
}

// One token of the page is selected, or none; each answer has one that Tab reaches.
function select(row, place) {
  side.querySelector("[aria-selected='true']")?.setAttribute("aria-selected", "false");
  const chosenToken = row === null || place === null ? null : tokenAt(row, place);
  Object.assign(view, chosenToken ? { row, token: place } : { row: null, token: null });
  if (!chosenToken) {
    tellNothing();
    return null;
  }
  for (const other of chosenToken.parentElement.querySelectorAll("[tabindex='0']")) other.tabIndex = -1;
  chosenToken.tabIndex = 0;
  chosenToken.setAttribute("aria-selected", "true");
  tellOf(row, place);
  return chosenToken;
}

function focusToken(row, place) {
  const found = select(row, place);
  found?.focus({ preventScroll: true });
  found?.scrollIntoView({ block: "nearest" });
}

// --- moving

async function show(changes, message) {
  Object.assign(view, changes);
  if (await draw(message)) remember(true);
}

function step(by) {
  const place = listed.indexOf(view.item) + by;
  if (!listed.length) return;
  if (place < 0 || place >= listed.length) say(by > 0 ? "This is the last one." : "This is the first one.");
  else show({ item: listed[place], row: null, token: null });
}

// The next shifted token: in this answer, in the one beside it, in the next response; `by` -1 goes back.
async function jump(by) {
  if (!current) return;
  const inOrder = (values) => (by > 0 ? values : [...values].reverse());
  const start = view.row === null ? (by > 0 ? -1 : Infinity) : shownRows().indexOf(view.row);
  for (const [order, row] of inOrder([...shownRows().entries()])) {
    if ((order - start) * by < 0 || !current[row]) continue;
    const from = order === start ? view.token : by > 0 ? -1 : Infinity;
    const shifted = [...current[row].classes].flatMap((name, place) => (CLASSES[name] === "shifted" ? [place] : []));
    const place = inOrder(shifted).find((each) => (each - from) * by > 0);
    if (place !== undefined) {
      focusToken(row, place);
      remember(false);
      return;
    }
  }
  const others = inOrder(listed.slice(...(by > 0 ? [listed.indexOf(view.item) + 1] : [0, listed.indexOf(view.item)])));
  const next = others.find((place) => shownRows().some((row) => shownOf(view.part.items[place], row)?.[1][2] > 0));
  if (next === undefined) {
    say(by > 0 ? "No shifted token comes after this." : "No shifted token comes before this.");
    return;
  }
  Object.assign(view, { item: next, row: null, token: null });
  if (await draw()) {
    remember(true);
    jump(by);
  }
}

// --- the address

const PAUSE = 300; // milliseconds between two entries: browsers refuse a flood of them
let written = -PAUSE;
let pending = 0;
let pushing = false;

function address() {
  const { part } = view;
  const item = itemShown();
  const own = usual(part);
  const named = new URLSearchParams();
  if (index.groups.length > 1) named.set("group", index.groups[part.group].heading);
  named.set("task", part.name);
  named.set("seed", part.seed);
  if (view.left !== own.left || view.right !== own.right) {
    named.set("left", rowName(view.left));
    if (view.right !== null) named.set("right", rowName(view.right));
  }
  for (const name of [...CHOICES, "search"]) if (view[name]) named.set(name, view[name]);
  if (view.of !== (view.right ?? view.left)) named.set("of", rowName(view.of));
  if (item) named.set("id", part.questions[item[0]][0]);
  if (view.token !== null) {
    named.set("row", rowName(view.row));
    named.set("token", view.token + 1);
  }
  return `#${named}`;
}

function remember(push) {
  clearTimeout(pending);
  pushing ||= push;
  pending = setTimeout(() => {
    if (address() !== location.hash) history[pushing ? "pushState" : "replaceState"](null, "", address());
    pushing = false;
    written = performance.now();
  }, Math.max(0, written + PAUSE - performance.now()));
}

// Show what the address names; what it does not name is as usual.
async function restore() {
  clearTimeout(pending);
  pushing = false;
  const named = new URLSearchParams(location.hash.slice(1));
  const messages = [];
  const group = named.get("group");
  const fits = (part) => (!named.has("task") || part.name === named.get("task")) && (!group || index.groups[part.group].heading === group);
  const seed = (part) => !named.has("seed") || String(part.seed) === named.get("seed");
  const part = parts.find((each) => fits(each) && seed(each)) ?? parts.find(fits) ?? parts[0];
  if (!fits(part) || !seed(part)) messages.push("What the address names is not on this page.");
  const rows = index.groups[part.group].rows.map((name) => name.toLowerCase());
  const place = (name) => {
    if (!named.has(name)) return undefined;
    const found = rows.indexOf(named.get(name).toLowerCase());
    if (!part.rows.some((row) => row.row === found)) messages.push(`There is no row “${named.get(name)}” here.`);
    return found;
  };
  view.part = null;
  Object.assign(view, { item: null, row: null, token: null, search: named.get("search") ?? "" });
  for (const name of CHOICES) view[name] = [...document.getElementById(name).options].some((each) => each.value === named.get(name)) ? named.get(name) : "";
  setPart(part, { left: place("left"), right: place("right"), of: place("of") });
  const row = place("row");
  if (row !== undefined && !shownRows().includes(row)) setPart(part, { right: row });
  if (named.has("id")) {
    const item = part.items.findIndex(([question]) => part.questions[question][0] === named.get("id"));
    if (item >= 0) view.item = item;
    else messages.push(`There is no “${named.get("id")}” here.`);
    list();
    if (item >= 0 && !listed.includes(item)) Object.assign(view, { show: "", search: "" });
  }
  const wanted = view.item;
  if (!await draw(messages.join(" "))) return;
  if (row !== undefined && view.item === wanted && named.has("token")) focusToken(row, Number(named.get("token")) - 1);
}

// --- what the reader does

function onTokenKey(event, token) {
  const all = token.parentElement.querySelectorAll(".token");
  const place = Number(token.dataset.place);
  const to = { ArrowRight: place + 1, ArrowLeft: place - 1, Home: 0, End: all.length - 1 }[event.key];
  if (to === undefined) return false;
  if (all[to]) focusToken(Number(token.dataset.row), to);
  remember(false);
  return true;
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea")) return;
  const token = event.target.closest(".text .token");
  if (token && onTokenKey(event, token)) {
    event.preventDefault();
    return;
  }
  const move = {
    n: () => step(1), p: () => step(-1), ArrowRight: () => step(1), ArrowLeft: () => step(-1), s: () => jump(1), S: () => jump(-1),
  }[event.key];
  if (!move) return;
  event.preventDefault();
  move();
}

function start() {
  if (!parts.some((part) => part.items.length) || typeof DecompressionStream === "undefined") {
    document.getElementById("where").textContent = parts.some((part) => part.items.length)
      ? "This browser is too old to unpack the page (it has no DecompressionStream)." : "No response has a token.";
    return;
  }
  let typing = 0;
  const onChange = {
    task: (value) => setPart(parts.find((part) => String(part.task) === value && part.seed === view.part.seed) ?? parts.find((part) => String(part.task) === value)),
    seed: (value) => setPart(parts.find((part) => part.task === view.part.task && String(part.seed) === value)),
    left: (value) => setPart(view.part, { left: Number(value), right: view.right === Number(value) ? view.left : view.right }),
    right: (value) => setPart(view.part, { right: Number(value), left: view.left === Number(value) ? view.right : view.left }),
    of: (value) => { view.of = Number(value); },
    show: (value) => { view.show = value; },
    order: (value) => { view.order = value; },
  };
  for (const [id, change] of Object.entries(onChange)) {
    document.getElementById(id).addEventListener("change", (event) => {
      const question = itemShown()?.[0];
      const before = view.part.task;
      change(event.target.value);
      // The same question of another seed; the first of another order or choice.
      const same = before === view.part.task ? view.part.items.findIndex((item) => item[0] === question) : -1;
      const kept = ["seed", "left", "right"].includes(id) && same >= 0 ? same : null;
      list();
      show({ item: kept ?? listed[0] ?? null, row: null, token: null });
    });
  }
  document.getElementById("search").addEventListener("input", (event) => {
    clearTimeout(typing);
    typing = setTimeout(() => {
      view.search = event.target.value;
      draw().then((drawn) => drawn && remember(false));
    }, 150);
  });
  document.getElementById("choose").addEventListener("submit", (event) => event.preventDefault());
  document.getElementById("previous").addEventListener("click", () => step(-1));
  document.getElementById("next").addEventListener("click", () => step(1));
  document.getElementById("jump").addEventListener("click", () => jump(1));
  document.addEventListener("keydown", onKey);
  side.addEventListener("focusin", (event) => {
    const token = event.target.closest(".token");
    if (!token || token.getAttribute("aria-selected") === "true") return;
    select(Number(token.dataset.row), Number(token.dataset.place));
    remember(false);
  });
  side.addEventListener("mouseover", (event) => {
    const token = event.target.closest(".text .token");
    if (token) tellOf(Number(token.dataset.row), Number(token.dataset.place));
  });
  side.addEventListener("mouseleave", () => (view.token === null ? tellNothing() : tellOf(view.row, view.token)));
  addEventListener("hashchange", restore);
  restore();
}

start();
