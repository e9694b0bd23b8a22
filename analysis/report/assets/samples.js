// The samples: only those in sight are elements. Each has one height, told by page.css.
const samples = { seeds: [], groups: [], items: [], shown: [], haystack: null, active: -1 };
const list = () => document.getElementById("list");

function loadSamples(text) {
  const data = JSON.parse(text);
  Object.assign(samples, { seeds: data.seeds, groups: data.groups, items: data.items, haystack: null, active: -1 });
  fill("task", [["", "all tasks"], ...tasksOf(data)]);
  const rows = new Set(data.groups.flatMap((group) => group.rows.slice(1)));
  const tuned = [...rows].filter((name) => !name.startsWith("vanilla"));
  fill("tuned", (tuned.length ? tuned : [...rows]).map((name) => [name, name]));
  fill("seed", data.seeds.map((seed) => [seed, `seed ${seed}`]));
  document.getElementById("seed").parentElement.hidden = data.seeds.length < 2;
  document.getElementById("sample-notes").replaceChildren(...data.notes.map((note) => element("p", note)));
  chooseSamples();
}

function tasksOf(data) {
  const found = new Map();
  for (const [group, task] of data.items) {
    const name = data.groups.length > 1 ? `${data.groups[group].heading}: ${task}` : task;
    found.set(`${group} ${task}`, name);
  }
  return [...found];
}

// Where the answers of a row lie: those of the chosen seed, of a row that has none those of its first; -1: nowhere.
function column(group, row) {
  const { columns } = samples.groups[group];
  const seed = Number(chosen("seed"));
  const own = columns.findIndex(([of, told]) => of === row && told === seed);
  return own >= 0 ? own : columns.findIndex(([of]) => of === row);
}

// The rows that stand side by side: seed LM, vanilla, and the tuned one that was chosen, each where the group has it.
function columns(group) {
  const rows = samples.groups[group].rows;
  const vanilla = rows.findIndex((name) => name.startsWith("vanilla"));
  const tuned = rows.indexOf(chosen("tuned"));
  return [...new Set([0, vanilla, tuned])].filter((place) => place >= 0);
}

const isGood = (verdict) => verdict !== null && verdict >= 0.5;

function passes(item) {
  const [group, , , , , , verdicts] = item;
  const rows = samples.groups[group].rows;
  const tuned = verdicts[column(group, rows.indexOf(chosen("tuned")))] ?? null;
  const seed = verdicts[0];
  switch (chosen("which")) {
    case "lost": return seed !== null && tuned !== null && isGood(seed) && !isGood(tuned);
    case "won": return seed !== null && tuned !== null && !isGood(seed) && isGood(tuned);
    case "differ": {
      const vanilla = verdicts[column(group, rows.findIndex((name) => name.startsWith("vanilla")))] ?? null;
      return vanilla !== null && tuned !== null && isGood(vanilla) !== isGood(tuned);
    }
    default: return true;
  }
}

function chooseSamples() {
  const words = chosen("search").toLowerCase().split(/\s+/).filter(Boolean);
  const task = chosen("task");
  if (words.length && !samples.haystack) {
    const places = samples.groups.map((one, group) => one.rows.map((_, row) => column(group, row)));
    samples.haystack = samples.items.map(([group, name, id, question, reference, answers]) =>
      [name, id, question, reference, ...places[group].map((place) => answers[place])].join("\n").toLowerCase());
  }
  samples.shown = [];
  samples.items.forEach((item, place) => {
    if (task && `${item[0]} ${item[1]}` !== task) return;
    if (!passes(item)) return;
    if (words.every((word) => samples.haystack[place].includes(word))) samples.shown.push(place);
  });
  samples.active = -1;
  const count = samples.shown.length.toLocaleString("en");
  document.getElementById("count").textContent = `${count} of ${samples.items.length.toLocaleString("en")} samples`;
  document.getElementById("space").replaceChildren();
  list().scrollTop = 0;
  showSamples();
}

function sampleHeight() {
  const rem = parseFloat(getComputedStyle(document.documentElement).fontSize);
  return parseFloat(getComputedStyle(document.documentElement).getPropertyValue("--sample-height")) * rem;
}

function showSamples() {
  const height = sampleHeight();
  const space = document.getElementById("space");
  space.style.height = `${samples.shown.length * height}px`;
  const first = Math.max(0, Math.floor(list().scrollTop / height) - 2);
  const last = Math.min(samples.shown.length, Math.ceil((list().scrollTop + list().clientHeight) / height) + 2);
  const there = new Map([...space.children].map((child) => [Number(child.dataset.place), child]));
  for (const [place, child] of there) if (place < first || place >= last) child.remove();
  for (let place = first; place < last; place += 1) {
    const card = there.get(place) ?? space.appendChild(sampleCard(place));
    card.style.top = `${place * height}px`;
  }
}

function sampleCard(place) {
  const [group, task, id, question, , answers, verdicts] = samples.items[samples.shown[place]];
  const card = element("div", "", "sample");
  card.dataset.place = place;
  card.tabIndex = -1;
  card.setAttribute("role", "group");
  card.setAttribute("aria-label", `sample ${place + 1} of ${samples.shown.length}`);
  const heading = element("h4", question);
  heading.prepend(element("span", `${task} · ${id} · `));
  const side = element("div", "", "answers");
  side.append(...columns(group).map((row) => answerBlock(group, row, answers, verdicts)));
  card.append(heading, side);
  return card;
}

function answerBlock(group, row, answers, verdicts) {
  const block = element("div");
  const { rows, looks } = samples.groups[group];
  const place = column(group, row);
  const name = element("strong", rows[row], looks[row]);
  const seed = samples.groups[group].columns[place]?.[1] ?? null;
  if (seed !== null && samples.seeds.length > 1) name.append(` (seed ${seed})`);
  const verdict = verdicts[place] ?? null;
  if (verdict !== null) {
    const good = isGood(verdict);
    name.append(" ", element("span", good ? "✓ good" : "✗ bad", good ? "verdict-good" : "verdict-bad"));
  }
  block.append(name, element("p", answers[place] || "(empty)"));
  return block;
}

function openSample(place) {
  const [group, task, id, question, reference, answers, verdicts] = samples.items[samples.shown[place]];
  const parts = [element("h3", `${samples.groups[group].heading}: ${task} · ${id}`)];
  parts.push(element("strong", "question"), element("p", question), element("strong", "reference"), element("p", reference));
  samples.groups[group].rows.forEach((_, row) => parts.push(answerBlock(group, row, answers, verdicts)));
  document.getElementById("whole-text").replaceChildren(...parts);
  document.getElementById("whole").showModal();
}

function moveTo(place) {
  const height = sampleHeight();
  samples.active = Math.max(0, Math.min(samples.shown.length - 1, place));
  const top = samples.active * height;
  if (top < list().scrollTop) list().scrollTop = top;
  const bottom = top + height - list().clientHeight;
  if (bottom > list().scrollTop) list().scrollTop = bottom;
  showSamples();
  list().querySelector(`[data-place="${samples.active}"]`)?.focus({ preventScroll: true });
}

function onListKey(event) {
  const page = Math.max(1, Math.floor(list().clientHeight / sampleHeight()));
  const moves = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
  if (event.key in moves && samples.shown.length) {
    event.preventDefault();
    const move = moves[event.key];
    moveTo(Number.isFinite(move) ? samples.active + move : move > 0 ? samples.shown.length - 1 : 0);
  } else if (event.key === "Enter" && samples.active >= 0) {
    event.preventDefault();
    openSample(samples.active);
  }
}

function startSamples() {
  let typing = 0;
  document.getElementById("search").addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(chooseSamples, 120);
  });
  document.getElementById("seed").addEventListener("change", () => {
    samples.haystack = null;
    chooseSamples();
  });
  for (const id of ["task", "which", "tuned"]) document.getElementById(id).addEventListener("change", chooseSamples);
  list().addEventListener("scroll", showSamples, { passive: true });
  list().addEventListener("keydown", onListKey);
  list().addEventListener("click", (event) => {
    const card = event.target.closest(".sample");
    if (!card) return;
    samples.active = Number(card.dataset.place);
    openSample(samples.active);
  });
  addEventListener("resize", showSamples);
  loadSamples(document.getElementById("data").textContent);
}

setTimeout(startSamples); // after the tables have been shown
