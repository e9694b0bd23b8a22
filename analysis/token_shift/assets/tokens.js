// A response as tokens, and what is told of one of them.
function column(name, look, ...content) {
  const made = element("article");
  made.append(element("h3", name, look), ...content);
  return made;
}

function seedColumn(task, question) {
  const answer = question[2];
  const why = task.seed ?? "It has no answer to this question.";
  return column("seed LM", "seed", answer === null ? element("p", why, "note") : plain(answer || "(empty)"));
}

function plain(text) {
  const made = element("p", text, "text");
  made.dir = "auto";
  return made;
}

function tunedColumn(group, row, shown, tokens) {
  const { rows, looks } = index.groups[group];
  const name = row.form === "aligntds" ? `${rows[row.row]} (AlignTDS's form)` : rows[row.row];
  if (!shown) return column(name, looks[row.row], shares(row, null), element("p", "Its answer is empty, or is not here.", "note"));
  return column(name, looks[row.row], shares(row, shown[1]), listbox(rows[row.row], row.row, shown, tokens));
}

// The legend: shares of the classes in this response, and in all that was measured.
function shares(row, told) {
  const table = element("table", "", "shares");
  const heading = table.createTHead().insertRow();
  for (const text of ["", "this response", `all ${count(row.responses)}`]) heading.append(element("th", text));
  const body = table.createTBody();
  const own = told && [told[0] - told[1] - told[2], told[1], told[2]].map((each) => each / told[0]);
  CLASSES.forEach((name, place) => {
    const line = body.insertRow();
    const key = element("th");
    key.scope = "row";
    key.append(element("span", name, `token ${name}`));
    line.append(key, element("td", own ? percent(own[place]) : "–"), element("td", percent(row.shares[place])));
  });
  return table;
}

function listbox(name, row, [text, [total]], tokens) {
  const made = element("div", "", "text");
  made.dir = "auto";
  made.setAttribute("role", "listbox");
  made.setAttribute("aria-orientation", "horizontal");
  made.setAttribute("aria-label", `answer of ${name}, ${total} tokens`);
  piecesOf(text, tokens.lengths).forEach((piece, place) => made.append(tokenElement(piece, CLASSES[tokens.classes[place]], row, place)));
  if (tokens.lengths.length < total) made.append(element("span", ` … (${count(total - tokens.lengths.length)} tokens more)`, "note"));
  return made;
}

function tokenElement(piece, name, row, place) {
  const made = element("span", piece, `token ${name}`);
  made.tabIndex = place === 0 ? 0 : -1;
  made.dataset.row = row;
  made.dataset.place = place;
  made.setAttribute("role", "option");
  made.setAttribute("aria-selected", "false");
  if (piece.includes("\n")) made.classList.add("line");
  else if (/^[\p{Cc}\p{Cf}]*$/u.test(piece)) made.classList.add("nothing");
  if (name !== "unshifted" || piece.trim() === "") made.setAttribute("aria-label", `${piece.trim() || readable(piece)}, ${name}`);
  return made;
}

function tell(row, shown, tokens, place) {
  const rows = index.groups[view.part.group].rows;
  const piece = piecesOf(shown[0], tokens.lengths)[place];
  const first = element("p");
  first.append(element("strong", `“${readable(piece)}”`), ` (id ${tokens.ids[place]}): token ${place + 1} of ${shown[1][0]} of ${rows[row.row]}, `);
  const name = CLASSES[tokens.classes[place]];
  first.append(element("span", name, `token ${name}`));
  const list = element("dl");
  const from = row.form === "aligntds" ? "0" : "1";
  for (const [term, value] of [
    [`rank to the seed LM, from ${from}`, count(tokens.rank[place])],
    ["probability, seed LM", number(tokens.base[place])],
    ["probability, tuned", number(tokens.tuned[place])],
    ["KL(seed ‖ tuned), nats", number(tokens.kl_base_tuned[place])],
    ["KL(tuned ‖ seed), nats", number(tokens.kl_tuned_base[place])],
  ]) list.append(element("dt", term), element("dd", value));
  document.getElementById("told").replaceChildren(first, list);
  document.getElementById("tops").replaceChildren(
    topTable("seed LM", likeliest(tokens, "top_base", place), tokens.ids[place]),
    topTable(rows[row.row], likeliest(tokens, "top_tuned", place), tokens.ids[place]),
  );
}

function topTable(name, entries, own) {
  const table = element("table");
  table.append(element("caption", `${name}: the ${entries.length} likeliest`));
  const body = table.createTBody();
  for (const [id, text, probability] of entries) {
    const line = body.insertRow();
    const heading = element("th", readable(text));
    heading.scope = "row";
    heading.title = `id ${id}`;
    line.append(heading, element("td", number(probability)));
    if (id === own) {
      line.className = "own";
      line.setAttribute("aria-current", "true");
    }
  }
  return table;
}

function tellNothing() {
  document.getElementById("told").replaceChildren(element("p", "Point at a token, or go to one by Tab and the arrow keys.", "note"));
  document.getElementById("tops").replaceChildren();
}
