// What pipelines found: a list, one finding with the turns around it, and a verdict on it.
const STATES = ["new", "accepted", "filed", "dismissed", "counted", "unverified", "stale", "suppressed"];
const REASONS = { wrong: "it is not what the detector says", expected: "it is meant to be so", minor: "not worth an issue", duplicate: "known already" };
const haul = { state: "new", detector: "", items: [], total: 0, at: 0 };

SCREENS.findings = { drawn: findingsScreen, label: "Findings", tool: "list_findings", key: "i",
  takes: (body) => body.items && show({ screen: "findings", given: body }) };
SCREENS.finding = { drawn: findingScreen, takes: (body) => body.finding && openFinding(body.finding.id, body) };

const openFinding = (id, given, said) => id && show({ screen: "finding", id, given }, { said });

async function readFindings() {
  const asked = { limit: 50, ...(haul.state && { state: haul.state }), ...(haul.detector.trim() && { detector: haul.detector.trim() }) };
  keepFindings(await ask("list_findings", asked));
}

function keepFindings({ items, total }) {
  Object.assign(haul, { items: items ?? [], total: total ?? 0 });
  haul.at = Math.max(0, Math.min(haul.at, haul.items.length - 1));
}

async function findingsScreen(place) {
  if (place.given) {
    keepFindings(place.given);
    haul.state = haul.items.every((one) => one.state === haul.items[0].state) ? haul.items[0]?.state ?? "" : "";
    place.given = undefined;
  } else if (!place.again) await readFindings();
  const narrowed = (name) => (value) => { haul[name] = value; haul.at = 0; show({ screen: "findings" }); };
  const [detector, ...finding] = searchField("Detector", haul.detector, narrowed("detector"));
  const node = el("div", {}, el("h1", { tabindex: "-1" }, "Findings"),
    el("div", { class: "tools", role: "search" },
      select("State", [["", "any"], ...named(STATES)], haul.state, narrowed("state")),
      finding),
    el("p", { class: "note" }, haul.items.length < haul.total ? `The newest ${haul.items.length} of ${count(haul.total, "finding")}` : count(haul.total, "finding")),
    el("ul", { class: "rows" }, haul.items.map(findingRow)));
  return { node, title: "Findings", focus: `open ${haul.items[haul.at]?.id}`, keys: {
    j: ["Next finding", () => stepTo(haul.at + 1)], k: ["Finding before", () => stepTo(haul.at - 1)],
    o: ["Open this finding", () => openFinding(haul.items[haul.at]?.id)], "/": ["Only of a detector", () => detector.focus()],
  } };
}

function findingRow(one, place) {
  const focus = () => {
    haul.at = place;
    document.querySelectorAll(".rows > li").forEach((row, n) => row.classList.toggle("at", n === place));
  };
  return el("li", { class: place === haul.at && "at" }, el("span"),
    button(`${inWords(one.detector)}: ${one.quote ?? one.note ?? one.kind ?? ""}`, () => openFinding(one.id), { class: "link", "data-key": `open ${one.id}`, focus }),
    factsOf(one));
}

const factsOf = (one) => facts(el("span", { class: "pill" }, one.state), one.severity && el("span", { class: `pill ${one.severity}` }, one.severity),
  `call ${one.call_id}`, Number.isInteger(one.turn) && `turn ${one.turn}`, one.kind !== one.detector && inWords(one.kind), one.why);

function stepTo(place) {
  haul.at = Math.max(0, Math.min(place, haul.items.length - 1));
  focusOn(`open ${haul.items[haul.at]?.id}`);
}

async function findingScreen(place) {
  const spot = haul.items.findIndex((one) => one.id === place.id);
  if (spot >= 0) haul.at = spot; // at once, so that a key pressed before this is drawn goes on from here
  const body = place.given ?? await ask("get_finding", { finding_id: place.id });
  place.given = undefined; // what is shown again is read again
  const { finding, turns, reviews } = body;
  place.id = finding.id;
  share({ finding_id: finding.id, call_id: finding.call_id, message_index: finding.turn });
  const see = () => show({ screen: "call", id: finding.call_id, issue: finding.issue_id, at: finding.turn });
  const node = el("div", {}, el("h1", { tabindex: "-1" }, inWords(finding.detector)), factsOf(finding),
    finding.quote && el("blockquote", { class: "text" }, finding.quote), finding.note && el("p", { class: "text" }, finding.note),
    el("div", { class: "tools" }, can("get_transcript") && SCREENS.call && button("Open its call", see),
      finding.issue_id && (SCREENS.issue ? button("Open its issue", () => openIssue(finding.issue_id)) : el("span", {}, `Filed on issue ${finding.issue_id}`))),
    turns.length > 0 ? el("ol", { class: "turns", "aria-label": "Turns around it" }, turns.map((turn) => plainTurn(turn, turn.message_index === finding.turn)))
      : el("p", { class: "note" }, "It is a fact of the call's record, or the call is gone: no turn can be shown."),
    verdictTools(body), verdictsOf(reviews));
  return { node, title: `Finding ${finding.id.slice(0, 8)}`, keys: {
    n: ["Next finding", () => nextFinding(1)], p: ["Finding before", () => nextFinding(-1)],
    ...(can("review_finding") && { a: ["Accept", () => verdict(body, "right")], d: ["Dismiss…", () => dismissal(body)] }),
  } };
}

function verdictTools(body) {
  return section("Verdict", can("review_finding") && el("p", { class: "note" }, isPage
    ? "Yours decides: what is accepted is filed, what is dismissed is not."
    : "Given here it counts as the agent's and decides nothing. A person decides on the board's page: calltriage board."),
    el("div", { class: "tools" }, can("review_finding") && [button("Accept", () => verdict(body, "right")), button("Dismiss…", () => dismissal(body))],
      button("Finding before", () => nextFinding(-1)), button("Next finding", () => nextFinding(1))));
}

const verdictsOf = (reviews) => reviews.length > 0 && section(`Verdicts so far (${reviews.length})`,
  el("ul", { class: "rows" }, reviews.map((one) => el("li", {}, el("span"),
    facts(el("strong", {}, one.role === "human" ? "a person" : "an agent"), one.verdict, when(one.at))))));

async function nextFinding(step) {
  if (haul.items.length === 0) await readFindings();
  const next = haul.items[haul.at + step];
  if (!next) return tell(step > 0 ? "This is the last finding of the list." : "This is the first finding of the list.");
  return openFinding(next.id);
}

async function dismissal(body) {
  const reason = el("select", {}, Object.entries(REASONS).map(([name, words]) => el("option", { value: name }, `${name}: ${words}`)));
  const note = el("textarea");
  const isWanted = await dialog("Dismiss this finding", [el("label", {}, "Why", reason), el("label", {}, "Note, if there is more to say", note)],
    [["Dismiss", true], ["Leave", false]]);
  if (isWanted) await verdict(body, reason.value, note.value.trim());
}

// Give a verdict, unless somebody gave another one since this finding was read; then go to the next that waits.
async function verdict({ finding, reviews }, word, reason) {
  try {
    const now = await ask("get_finding", { finding_id: finding.id });
    if (now.reviews.length > reviews.length && !(await isWantedStill(now))) return openFinding(finding.id);
    const made = await ask("review_finding", { finding_id: finding.id, verdict: word, ...(reason && { reason }) });
    const row = haul.items.find((one) => one.id === finding.id);
    if (row) Object.assign(row, { state: made.state, issue_id: made.issue_id ?? row.issue_id });
    const told = word === "right" ? "Accepted" : `Dismissed as ${word}`;
    share({ finding_id: finding.id, verdict: word, state: made.state }, "judged");
    const next = haul.items.findIndex((one, n) => n > haul.at && one.state === "new");
    return await openFinding(next < 0 ? finding.id : haul.items[next].id, undefined, [`${told}. Its state is ${made.state}. ${made.note ?? ""}`]);
  } catch (failure) {
    return tell(failure.message, true);
  }
}

function isWantedStill({ finding, reviews }) {
  const last = reviews.at(-1);
  return overrules("finding", `${last.role === "human" ? "A person" : "An agent"} said ${last.verdict}, `, when(last.at),
    `. Its state is ${finding.state} now. Your verdict is not on record.`);
}
