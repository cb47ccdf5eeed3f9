// One call: its transcript with flags, a strip that shows where they are, and flagging by quote.
const WINDOWS = 8;
const call = { id: null, issue: null, turns: [], flags: [], types: [], at: 0, query: "", rest: null };

const openCall = (id, issue, at) => show({ screen: "call", id, issue, at });

SCREENS.call = { drawn: callScreen };

async function callScreen(place) {
  if (!place.again) await readCall(place);
  if (!place.again) share({ ...(call.issue && { issue_id: call.issue }), call_id: call.id, message_index: call.turns[call.at]?.message_index });
  const hits = found(call.query);
  const [search, ...finding] = searchField("Search in this call", call.query, look);
  const node = el("div", {}, el("h1", { tabindex: "-1" }, `Call ${call.id}`),
    facts(when(call.head.created_at), count(call.turns.length, "turn"), count(call.flags.length, "flag")),
    player(call.id), strip(call.turns, call.flags, (index) => stand(placeOf(index))),
    el("div", { class: "tools", role: "search" }, finding,
      call.query && el("span", { class: "note" }, `in ${count(hits.length, "turn")}`),
      hits.length > 0 && button("Next hit", () => stand(hits.find((one) => one > call.at) ?? hits[0]))),
    flagTools(),
    el("ol", { class: "turns", "aria-label": "Transcript" }, call.turns.map((turn, spot) => turnRow(turn, spot))),
    call.rest && button("More of the call", async () => { await readOn(1); redraw(); }));
  const digits = Object.fromEntries(call.types.map((type, n) => [String(n + 1), [`Flag as ${type}`, () => flagAs(type)]]));
  return { node, title: `Call ${call.id}`, focus: `turn ${call.turns[call.at]?.message_index}`, keys: {
    j: ["Next turn", () => stand(call.at + 1)], k: ["Turn before", () => stand(call.at - 1)],
    n: ["Next hit", () => hits.length > 0 && stand(hits.find((one) => one > call.at) ?? hits[0])],
    "/": ["Search in this call", () => search.focus()],
    ...(mayFlag() && { f: ["Flag this turn", () => flagDialog()], ...digits }),
    ...(can("update_flag") && call.issue && { e: ["Correct the first flag of this turn", () => edit(flagsAt(call.at)[0])] }),
  } };
}

async function readCall(place) {
  Object.assign(call, { id: place.id, issue: place.issue ?? null, turns: [], at: 0, query: "", head: {},
    rest: { tool: "get_transcript", arguments: { call_id: place.id, max_tokens: 15000 } } });
  await Promise.all([readOn(WINDOWS), readFlags(), readTypes()]);
  call.at = placeOf(place.at ?? call.turns[0]?.message_index);
}

// Read windows of the transcript, one after the other, each as the one before it says.
async function readOn(most) {
  for (let n = 0; n < most && call.rest; n += 1) {
    const { transcript, omitted } = await ask("get_transcript", call.rest.arguments);
    const { turns, ...head } = transcript ?? {};
    call.head = head;
    for (const turn of turns ?? []) {
      const last = call.turns.at(-1);
      if (last?.message_index === turn.message_index) last.text += turn.text;
      else call.turns.push(turn);
    }
    call.rest = (omitted ?? []).map((gap) => gap.try_next).find((next) => next?.tool === "get_transcript") ?? null;
  }
}

async function readFlags() {
  if (!call.issue) return void (call.flags = []);
  const evidence = await ask("get_evidence", { issue_id: call.issue, section: "flags", max_tokens: 12000 });
  call.flags = rowsOf(evidence, "flags").filter((flag) => flag.call_id === call.id);
}

async function readTypes() {
  const page = can("list_flag_types") ? await ask("list_flag_types", {}).catch(() => ({})) : {};
  call.types = (page.items ?? []).slice(0, 9).map((one) => one.type);
}

const placeOf = (index) => Math.max(0, call.turns.findIndex((turn) => turn.message_index === index));
const flagsAt = (spot) => call.flags.filter((flag) => flag.message_index === call.turns[spot]?.message_index);
const mayFlag = () => can("add_flag") && call.issue && call.turns.length > 0;
const found = (query) => (query ? call.turns.flatMap((turn, spot) => (turn.text.toLowerCase().includes(query.toLowerCase()) ? [spot] : [])) : []);

function look(query) {
  call.query = query.trim();
  const hits = found(call.query);
  if (hits.length > 0) call.at = hits[0];
  const said = call.query ? [hits.length > 0 ? `Found in ${count(hits.length, "turn")}.` : "Not said in this call."] : [];
  redraw({ focus: `turn ${call.turns[call.at]?.message_index}`, said });
}

// Stand on a turn: the keys work on this one.
function stand(spot) {
  call.at = Math.max(0, Math.min(spot, call.turns.length - 1));
  document.querySelectorAll(".turns > li").forEach((row, n) => {
    row.classList.toggle("at", n === call.at);
    row.querySelector(".no").tabIndex = n === call.at ? 0 : -1;
  });
  focusOn(`turn ${call.turns[call.at]?.message_index}`);
}

function turnRow(turn, spot) {
  const flags = flagsAt(spot);
  const name = placeName(turn);
  return el("li", { class: `${flags.length > 0 ? "flagged" : ""} ${spot === call.at ? "at" : ""}` },
    button(name, () => { stand(spot); playFrom(turn.at_s); }, { class: "no", "data-key": `turn ${turn.message_index}`, tabindex: spot === call.at ? 0 : -1,
      "aria-label": `Turn ${turn.message_index}, ${name}, ${turn.user ?? "unknown"}` }),
    el("p", { class: "words", "data-spot": spot, mouseup: () => { call.at = spot; } }, el("span", { class: "note" }, `${turn.user ?? "?"}: `), marked(turn.text)),
    flags.length > 0 && el("ul", { class: "tools" }, flags.map((flag) => el("li", { class: "tools" }, el("strong", {}, flag.type), flag.note,
      flagButtons(flag, call.issue)))));
}

// A text with the words that were searched for marked.
function marked(text) {
  if (!call.query) return text;
  const lower = text.toLowerCase(), query = call.query.toLowerCase(), parts = [];
  if (lower.length !== text.length) return text; // letters that change their length: places would not fit
  let from = 0;
  for (let at = lower.indexOf(query); at >= 0; at = lower.indexOf(query, from)) {
    parts.push(text.slice(from, at), el("mark", {}, text.slice(at, at + query.length)));
    from = at + query.length;
  }
  return [parts, text.slice(from)];
}

// Where the flags are: by time where turns have times, else by turn.
function strip(turns, flags, go) {
  if (turns.length === 0) return null;
  const last = turns.at(-1);
  const end = last.at_s === undefined ? 0 : last.at_s + (last.for_s ?? 1);
  const share = (turn) => (end > 0 && turn.at_s !== undefined ? turn.at_s / end : turn.message_index / Math.max(1, last.message_index));
  const ticks = flags.flatMap((flag) => {
    const turn = turns.find((one) => one.message_index === flag.message_index);
    if (!turn) return [];
    const tick = button("⚑", () => go(turn.message_index), { "aria-label": `${flag.type}, turn ${turn.message_index}`, title: flag.type, "data-key": `tick ${flag.id}` });
    tick.style.left = `${(share(turn) * 100).toFixed(2)}%`;
    return [tick];
  });
  if (end > 0) ticks.push(el("span", { class: "head", "data-end": end }));
  return el("div", { class: "strip", role: "group", "aria-label": `Flags by ${end > 0 ? "time" : "turn"}` }, ticks);
}

// The words that are selected in one turn, and its place; else the turn that the person stands on, whole.
function moment() {
  const selection = getSelection();
  const words = selection.toString().trim();
  const within = (node) => (node?.nodeType === 1 ? node : node?.parentElement)?.closest(".words");
  const home = within(selection.anchorNode);
  if (words && home && home === within(selection.focusNode)) return { turn: call.turns[Number(home.dataset.spot)], quote: words };
  return { turn: call.turns[call.at] };
}

function flagTools() {
  if (!mayFlag()) return null;
  return el("div", { class: "tools", role: "group", "aria-label": "Flag the selected words, or the turn" },
    call.types.map((type, n) => button(`${n + 1} ${type}`, () => flagAs(type), { "data-key": `type ${n}`, mousedown: (event) => event.preventDefault() })),
    button("Flag…", () => flagDialog(), { mousedown: (event) => event.preventDefault() }));
}

async function flagAs(type, { turn, quote } = moment(), note) {
  const given = { issue_id: call.issue, call_id: call.id, type, message_index: turn.message_index, ...(quote && { quote }), ...(note && { note }) };
  let flag;
  try {
    flag = await ask("add_flag", given);
  } catch (failure) {
    return tell(failure.message, true);
  }
  share({ issue_id: call.issue, call_id: call.id, flag_id: flag.id, message_index: turn.message_index });
  return flagsChanged(`Flagged turn ${flag.message_index ?? turn.message_index} as ${flag.type ?? type}.`);
}

// Type and note of a flag, as a person fills them in; null where they leave it.
async function askFlag(title, flag, more) {
  const type = el("input", { value: flag.type ?? "", list: "types", autocomplete: "off" }), note = el("textarea", { value: flag.note ?? "" });
  const content = [el("label", {}, "Type", type), el("datalist", { id: "types" }, call.types.map((one) => el("option", { value: one }))),
    el("label", {}, "Note", note), more];
  const isWanted = await dialog(title, content, [["Save", true], ["Leave", false]]);
  if (isWanted && !type.value.trim()) tell("A flag needs a type.", true);
  return isWanted && type.value.trim() ? { type: type.value.trim(), note: note.value.trim() } : null;
}

async function flagDialog() {
  const { turn, quote } = moment();
  const words = el("textarea", { value: quote ?? turn.text });
  const given = await askFlag(`Flag turn ${turn.message_index}`, {}, el("label", {}, "Words of the turn", words));
  if (!given) return;
  const chosen = words.value.trim();
  await flagAs(given.type, { turn, quote: chosen === turn.text.trim() ? undefined : chosen }, given.note);
}

function flagButtons(flag, issueId) {
  if (!issueId) return null;
  return [can("update_flag") && button("Correct", () => edit(flag, issueId), { "data-key": `edit ${flag.id}`, "aria-label": `Correct ${flag.type}` }),
    can("remove_flag") && button("Remove", () => removed("remove_flag", { issue_id: issueId, flag_id: flag.id }, "Flag removed."),
      { "data-key": `drop ${flag.id}`, "aria-label": `Remove ${flag.type}` })];
}

// Correct a flag. Its turn is asked for by number, so that it can be moved without a pointer.
async function edit(flag, issueId = call.issue) {
  if (!flag) return tell("No flag is on this turn.", true);
  const turn = el("input", { type: "number", min: 0, value: flag.message_index ?? "" });
  const given = await askFlag(`Correct ${flag.type}`, flag, el("label", {}, "Turn", turn));
  if (!given) return undefined;
  const change = { issue_id: issueId, flag_id: flag.id };
  if (given.type !== flag.type) change.type = given.type;
  if (given.note && given.note !== flag.note) change.note = given.note;
  if (turn.value !== "" && Number(turn.value) !== flag.message_index) change.message_index = Number(turn.value);
  let made;
  try {
    made = await ask("update_flag", change);
  } catch (failure) {
    return flagsChanged(["not_found", "flag_replaced"].includes(failure.code) ? "Somebody else corrected or removed this flag meanwhile. Yours is not written." : failure.message, true);
  }
  return flagsChanged(`Corrected: ${made.type}, turn ${made.message_index ?? "unknown"}.`);
}

// Draw anew with the flags as they are now.
async function flagsChanged(words, isBad = false) {
  const failure = await Promise.all([readFlags(), readTypes()]).then(() => null, (one) => one);
  return redraw({ said: failure ? [`${words} The flags shown are from before: ${failure.message}`, true] : [words, isBad] });
}

// Hear the call from a turn on, where there is a recording to play.
function playFrom(seconds) {
  const player = by("player");
  if (!player || seconds === undefined) return;
  player.currentTime = seconds;
  player.play().catch(() => {});
}

// Show how far the recording has been heard: on the strip, and which turn it is.
function heard(seconds) {
  const head = main.querySelector(".strip .head");
  if (head) head.style.left = `${Math.min(100, (seconds / Number(head.dataset.end)) * 100).toFixed(2)}%`;
  const spot = call.turns.findLastIndex((turn) => turn.at_s <= seconds);
  main.querySelectorAll(".turns > li").forEach((row, n) => row.classList.toggle("heard", n === spot));
}
