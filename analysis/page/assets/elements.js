// What the scripts make elements with.
const chosen = (id) => document.getElementById(id).value;

function fill(id, options) {
  const select = document.getElementById(id);
  const before = select.value;
  select.replaceChildren(...options.map(([value, text]) => new Option(text, value)));
  if (options.some(([value]) => value === before)) select.value = before;
}

function element(tag, text = "", look = "") {
  const made = document.createElement(tag);
  made.textContent = text;
  if (look) made.className = look;
  return made;
}
