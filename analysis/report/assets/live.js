// A served page asks its own server how the sweep stands, and takes over the new page when its results have changed.
const POLL_MILLISECONDS = 2000;

async function follow() {
  const line = document.getElementById("live");
  try {
    const state = await (await fetch("state")).json();
    line.textContent = state.told;
    if (state.version !== document.body.dataset.version) await renew(state.version);
  } catch {
    line.textContent = "The server of this page has ended.";
  }
  setTimeout(follow, POLL_MILLISECONDS);
}

async function renew(version) {
  const text = await (await fetch(".")).text();
  const page = new DOMParser().parseFromString(text, "text/html");
  const open = [...document.querySelectorAll("details")].map((each) => each.open);
  for (const section of page.querySelectorAll("main > section")) {
    if (section.id !== "samples") document.getElementById(section.id).replaceWith(section);
  }
  document.querySelectorAll("details").forEach((each, place) => { each.open = open[place] ?? false; });
  loadSamples(page.getElementById("data").textContent);
  document.body.dataset.version = version;
}

if (document.body.dataset.version !== undefined) setTimeout(follow, POLL_MILLISECONDS);
