// What the page holds: the index is read at once, a question's tokens when they are shown.
const index = JSON.parse(document.getElementById("index").textContent);
const CLASSES = ["unshifted", "marginal", "shifted"];
const KEPT = 16; // questions whose tokens stay unpacked

const unpackedQuestions = new Map();

async function unpacked(name) {
  if (!unpackedQuestions.has(name)) {
    const [rows, rest] = await Promise.all([inflated(name), inflated(`${name}-rest`)]);
    for (const row of Object.keys(rows)) rows[row].rest = rest?.[row];
    unpackedQuestions.set(name, rows);
    if (unpackedQuestions.size > KEPT) unpackedQuestions.delete(unpackedQuestions.keys().next().value);
  }
  return unpackedQuestions.get(name);
}

async function inflated(name) {
  const packed = document.getElementById(name)?.textContent;
  if (!packed) return null;
  const bytes = Uint8Array.from(atob(packed), (each) => each.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return JSON.parse(await new Response(stream).text());
}

// A response's text cut into its tokens; lengths are in characters, not in the halves of a pair.
function piecesOf(text, lengths) {
  const characters = [...text];
  let start = 0;
  return lengths.map((length) => characters.slice(start, start += length).join(""));
}

// The likeliest tokens of one model at a place: [id, text, probability].
function likeliest(tokens, model, place) {
  return [...listedAt(tokens[model], place), ...(tokens.rest ? listedAt(tokens.rest[model], place) : [])];
}

function listedAt([counts, places, probabilities], place) {
  let start = 0;
  for (let before = 0; before < place; before += 1) start += counts[before];
  return places.slice(start, start + counts[place]).map((token, rank) => [...index.tokens[token], probabilities[start + rank]]);
}

function number(value) {
  if (value === null) return "not a number";
  if (value === 0 || Math.abs(value) >= 0.001) return String(Number(value.toPrecision(4)));
  return value.toExponential(3);
}

const percent = (share) => (share === null ? "–" : `${(100 * share).toFixed(1)} %`);
const count = (value) => value.toLocaleString("en");

// A token's text in sight: what a blank is, where it is nothing else.
function readable(text) {
  if (text === "") return "▯";
  return text.replaceAll("\n", "↵").replaceAll("\t", "⇥").replaceAll(" ", "␣").replaceAll(/[\p{Cc}\p{Cf}]/gu, "▯");
}
