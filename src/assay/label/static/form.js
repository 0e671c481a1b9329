// The label being given: reads and sets the form. A draft is the same value, unfinished.

const $ = (id) => document.getElementById(id);
const form = () => $("form");

export function readForm() {
  const data = new FormData(form());
  const out = {};
  for (const name of ["verdict", "refusal", "confidence"]) if (data.get(name)) out[name] = data.get(name);
  const modes = $("modes").hidden ? [] : data.getAll("modes").map(Number).sort((a, b) => a - b);
  if (modes.length) out.modes = modes;
  const note = $("note").value;
  if (note) out.note = note;
  return out;
}

export function setForm(value = {}) {
  for (const input of form().querySelectorAll("input")) {
    const given = input.name === "modes" ? (value.modes ?? []).map(String) : [value[input.name]];
    input.checked = given.includes(input.value);
  }
  $("note").value = value.note ?? "";
}

export function choose(name, value) {
  const input = form().querySelector(`input[name="${name}"][value="${value}"]`);
  if (!input || input.closest("[hidden]")) return null;
  input.checked = input.type === "checkbox" ? !input.checked : true;
  form().dispatchEvent(new Event("input"));
  return input;
}

const CONFIDENCES = ["low", "medium", "high"];

export function cycleConfidence() {
  const now = CONFIDENCES.indexOf(readForm().confidence);
  return choose("confidence", CONFIDENCES[(now + 1) % CONFIDENCES.length]);
}

// The key of a shortcut: by its letter, or where the keyboard writes another script, by its place.
export function shortcut(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return "";
  if (event.key === "Enter" || event.key === "Escape") return event.key;
  if (/^[a-z0-9?]$/i.test(event.key)) return event.key.toLowerCase();
  if (event.key.length === 1 && event.key.codePointAt(0) < 128) return ""; // a sign of a Latin keyboard, such as a shifted digit
  const place = /^(?:Key([A-Z])|(?:Digit|Numpad)([0-9]))$/.exec(event.code ?? "");
  return place ? (place[1] ?? place[2]).toLowerCase() : "";
}
