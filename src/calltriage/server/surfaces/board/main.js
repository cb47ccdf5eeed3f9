// Which screen is shown, the keys that work on it, and how the board starts.
const main = by("main");
const trail = [];
let here = null, turn = 0, keysWork = true;

// Show a screen. What is drawn in place of it meanwhile wins. What came of a change (the arguments of tell) is said once
// the screen shows it: whoever hears it can go on from there.
async function show(place, { back = false, focus, said = [] } = {}) {
  const mine = (turn += 1);
  let drawn, words = said;
  main.setAttribute("aria-busy", "true");
  try {
    drawn = await SCREENS[place.screen].drawn(place);
  } catch (failure) {
    if (mine === turn) words = [[said[0], failure.message].filter(Boolean).join(" "), true];
    drawn = here && here.screen === place.screen ? null : { title: "Not shown", keys: {}, node: el("div", {}, el("h1", { tabindex: "-1" }, "Not shown"),
      el("p", {}, failure instanceof Refused ? failure.message : "The board failed at drawing this."), button("Try again", () => show(place, { back: true }))) };
  }
  if (mine === turn) draw(place, drawn, back, focus);
  if (words.length > 0) tell(...words);
}

function draw(place, drawn, back, focus) {
  main.removeAttribute("aria-busy");
  if (!drawn) return;
  if (here && !back && !isSame(here, place)) trail.push({ ...here, again: false });
  here = { ...place, again: false, keys: drawn.keys };
  document.title = `${drawn.title} – calltriage board`;
  main.replaceChildren(drawn.node);
  navigation();
  watch(here);
  if (!focusOn(focus ?? drawn.focus)) main.querySelector("h1").focus();
}

const isSame = (one, other) => one.screen === other.screen && one.id === other.id;

// Draw the screen anew with what is known; focus stays where it was.
function redraw({ focus = document.activeElement?.dataset?.key, said } = {}) {
  return show({ ...here, again: true, evidence: undefined }, { back: true, focus, said });
}

function focusOn(key) {
  const wanted = key && main.querySelector(`[data-key="${CSS.escape(key)}"]`);
  wanted?.focus();
  wanted?.scrollIntoView({ block: "nearest" });
  return Boolean(wanted);
}

function goBack() {
  const before = trail.pop();
  if (before) show(before, { back: true });
  else if (!isHome(here?.screen)) goHome({ back: true });
}

function navigation() {
  const places = homes().map(([screen, { label }]) => button(label, () => show({ screen }), { "aria-current": here.screen === screen && "page" }));
  by("nav").replaceChildren(...places, ...(isHome(here.screen) ? [] : [button("Back", goBack)]));
}

const everywhere = () => ({ b: ["Back", goBack], "?": ["These keys", help],
  ...Object.fromEntries(homes().map(([screen, { key, label }]) => [key, [label, () => show({ screen })]])) });

async function help() {
  const rows = Object.entries({ ...here?.keys, ...everywhere() }).map(([key, [label]]) => [el("dt", {}, el("kbd", {}, key)), el("dd", {}, label)]);
  const chosen = await dialog("Keys", el("dl", {}, rows), [["Close", null], [keysWork ? "Turn keys off" : "Turn keys on", "switch"]]);
  if (chosen === "switch") keysWork = !keysWork;
}

document.addEventListener("keydown", (event) => {
  const { target } = event;
  const steps = target.matches?.(".no, .rows .link") ? { ArrowDown: "j", ArrowUp: "k" } : {}; // these work without the others
  const key = steps[event.key] ?? event.key;
  if (!(keysWork || event.key in steps) || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (["INPUT", "TEXTAREA", "SELECT"].includes(target.tagName) && target.type !== "checkbox") {
    if (key === "Escape") main.querySelector("h1").focus();
    return;
  }
  const run = ({ ...everywhere(), ...here?.keys }[key] ?? (key === "Escape" ? everywhere().b : undefined))?.[1];
  if (!run) return;
  event.preventDefault();
  run();
});
by("help").addEventListener("click", help);

start().catch((failure) => tell(failure.message, true));
