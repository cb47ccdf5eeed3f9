// Elements, times and dialogs. Words of others get in as text nodes and attribute values, never as markup.
const SVG = "http://www.w3.org/2000/svg";

function filled(node, properties, children) {
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (typeof value === "function") node.addEventListener(name, value);
    else if (name === "value" || name === "checked") node[name] = value;
    else if (value !== undefined && value !== null && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(3).filter((one) => one !== undefined && one !== null && one !== false));
  return node;
}
const el = (tag, properties, ...children) => filled(document.createElement(tag), properties, children);
const drawn = (tag, properties, ...children) => filled(document.createElementNS(SVG, tag), properties, children);
const by = (id) => document.getElementById(id);

// A button. Its key is how focus finds it again when the screen is drawn anew.
const button = (label, click, more) => el("button", { type: "button", "data-key": label, click, ...more }, label);

// A choice; its label stands before it unless it is told in another way.
function select(label, options, value, change, isTold) {
  const made = options.map(([name, text]) => el("option", { value: name }, text));
  const chosen = el("select", { "data-key": label, "aria-label": isTold && label, change: (event) => change(event.target.value) }, made);
  chosen.value = value;
  return isTold ? chosen : el("label", {}, label, chosen);
}

// Short facts on a line; what is not known is left out.
const facts = (...all) => el("span", { class: "facts" }, all.flat().filter(Boolean).map((one) => (one.nodeType ? one : el("span", {}, one))));

// A field to search with, which begins at Enter or its button.
function searchField(label, value, go, key = "search") {
  const field = el("input", { type: "search", "data-key": key, value, keydown: (event) => { if (event.key === "Enter") go(field.value); } });
  return [field, el("label", {}, label, field), button("Find", () => go(field.value))];
}
const inWords = (name) => name?.replaceAll("_", " ");
const named = (names) => names.map((one) => [one, inWords(one)]);

const zone = { locale: undefined, timeZone: undefined };
// An instant in the person's own zone and words.
function when(text) {
  const at = new Date(text ?? "");
  if (Number.isNaN(at.getTime())) return "";
  const style = { dateStyle: "medium", timeStyle: "short", timeZone: zone.timeZone };
  return el("time", { datetime: at.toISOString() }, new Intl.DateTimeFormat(zone.locale, style).format(at));
}
const clock = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
const count = (many, one) => `${many} ${one}${many === 1 ? "" : "s"}`;

// Where a turn is: its second, or its number where no time is known.
const placeName = (turn) => (turn.at_s === undefined ? `${turn.message_index}` : clock(turn.at_s));
// A turn of a call, to be read.
const plainTurn = (turn, isFlagged) => el("li", { class: isFlagged && "flagged" },
  el("span", { class: "note" }, placeName(turn)),
  el("p", {}, el("span", { class: "note" }, `${turn.user ?? "?"}: `), turn.text));

const section = (title, ...content) => el("section", { "aria-label": title }, el("h2", {}, title), content);

// Tell the outcome of what a person did. A new element is read out even where its words are the same.
const tell = (text, isBad) => by("said").replaceChildren(el("p", isBad ? { class: "bad" } : {}, text));

// A dialog with buttons; the value of the one that was chosen, or null. No form: hosts' frames forbid to send any.
function dialog(title, content, choices) {
  return new Promise((done) => {
    const box = el("dialog", { "aria-labelledby": "dialog-title" }, el("h2", { id: "dialog-title" }, title), content,
      el("div", { class: "tools" }, choices.map(([label, value]) => button(label, () => { chosen = value; box.close(); }))));
    let chosen = null;
    box.addEventListener("close", () => { box.remove(); done(chosen); });
    box.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.target.tagName !== "INPUT") return;
      event.preventDefault();
      chosen = choices[0][1];
      box.close();
    });
    document.body.append(box);
    box.showModal();
  });
}

// Tell that somebody else was first, and ask whether to write all the same.
const overrules = async (what, ...words) => (await dialog(`Somebody else changed this ${what}`, el("p", { class: "text" }, words),
  [["Show what it is now", false], ["Write mine all the same", true]])) === true;

// Ask before something is removed for good. The question is the server's.
const agreed = async (words) =>
  (await dialog("Remove for good?", el("p", { class: "text" }, words), [["Keep", false], ["Remove", true]])) === true;

// What went wrong, as the server says it.
class Refused extends Error {
  constructor(error) {
    super(error.message ?? "It did not work.");
    this.code = error.code ?? "failed";
    this.error = error;
  }
}
