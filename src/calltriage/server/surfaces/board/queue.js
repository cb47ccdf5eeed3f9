// The queue of issues: filters, search, rows to move through, and changes to many at once with an outcome for each.
const STATUSES = ["backlog", "todo", "in_progress", "in_review", "done", "closed"];
const SEVERITIES = ["critical", "high", "medium", "low"];
const OPEN = STATUSES.slice(0, 4);
const AT_ONCE = 4;
const list = { status: "open", severity: "", search: "", issues: [], cursor: null, chosen: new Set(), outcomes: new Map(), at: 0, bulk: {} };
let members;

SCREENS.queue = { drawn: queueScreen, label: "Issues", tool: "list_issues", key: "g" };

async function fetched(cursor) {
  const asked = { limit: 50 };
  if (list.status) asked.status = list.status === "open" ? OPEN : [list.status];
  if (list.severity) asked.severity = [list.severity];
  if (list.search.trim()) asked.search = list.search.trim();
  if (cursor) asked.cursor = cursor;
  const page = await ask("list_issues", asked);
  list.issues = cursor ? [...list.issues, ...page.items] : page.items;
  list.cursor = page.next_cursor ?? null;
  if (cursor) return;
  list.at = 0;
  list.chosen.clear();
  list.outcomes.clear();
}

// The people to whom issues can be given, where the server says who there are.
async function people() {
  if (members === undefined) members = can("list_org_members") ? (await ask("list_org_members", {}).catch(() => ({}))).items ?? [] : [];
  return members.map((one) => [one.user_id, one.name ?? one.email ?? one.user_id]);
}

async function queueScreen({ again }) {
  if (!again) await fetched();
  const known = await people();
  const narrowed = (name) => (value) => { list[name] = value; show({ screen: "queue" }); };
  const [search, ...finding] = searchField("Search", list.search, narrowed("search"));
  const node = el("div", {}, el("h1", { tabindex: "-1" }, "Issues"),
    el("div", { class: "tools", role: "search" },
      select("Status", [["open", "open"], ["", "any"], ...named(STATUSES)], list.status, narrowed("status")),
      select("Severity", [["", "any"], ...named(SEVERITIES)], list.severity, narrowed("severity")),
      finding),
    can("update_issue") && bulkTools(known),
    el("p", { class: "note" }, `${count(list.issues.length, "issue")}${list.cursor ? ", and more" : ""}`),
    el("ul", { class: "rows" }, list.issues.map((issue, place) => queueRow(issue, place, new Map(known)))),
    list.cursor && button("More", async () => { await fetched(list.cursor); redraw(); }));
  return { node, title: "Issues", focus: `open ${list.issues[list.at]?.id}`, keys: {
    j: ["Next issue", () => moveTo(list.at + 1)], k: ["Issue before", () => moveTo(list.at - 1)],
    x: ["Select or leave out this issue", () => choose(list.issues[list.at])],
    o: ["Open this issue", () => openIssue(list.issues[list.at]?.id)], "/": ["Search", () => search.focus()],
  } };
}

function queueRow(issue, place, known) {
  const outcome = list.outcomes.get(issue.id);
  return el("li", { class: place === list.at && "at" },
    can("update_issue") ? el("input", { type: "checkbox", checked: list.chosen.has(issue.id), "aria-label": `Select ${issue.triage_id}`,
      "data-key": `select ${issue.id}`, change: () => choose(issue) }) : el("span"),
    button(`${issue.triage_id} ${issue.title}`, () => openIssue(issue.id), { class: "link", "data-key": `open ${issue.id}`,
      focus: () => { list.at = place; markRow(); } }),
    facts(el("span", { class: `pill ${SEVERITIES.includes(issue.severity) ? issue.severity : ""}` }, issue.severity), inWords(issue.status),
      issue.category, known.get(issue.assignee_id) ?? issue.assignee_id, issue.flag_count && count(issue.flag_count, "flag"),
      when(issue.last_activity_at ?? issue.updated_at), outcome && el("strong", { class: outcome.isBad && "bad" }, outcome.text)));
}

function markRow() {
  document.querySelectorAll(".rows > li").forEach((row, place) => row.classList.toggle("at", place === list.at));
}

function moveTo(place) {
  list.at = Math.max(0, Math.min(place, list.issues.length - 1));
  focusOn(`open ${list.issues[list.at]?.id}`);
}

function choose(issue) {
  if (!issue || !can("update_issue")) return;
  if (!list.chosen.delete(issue.id)) list.chosen.add(issue.id);
  redraw({ said: [`${count(list.chosen.size, "issue")} selected.`] });
}

function bulkTools(known) {
  const some = list.chosen.size > 0;
  const wished = (name) => (value) => { list.bulk[name] = value; };
  const all = list.issues.length > 0 && list.chosen.size === list.issues.length;
  return el("div", { class: "tools", role: "group", "aria-label": "Change the selected issues" },
    button(all ? "Select none" : "Select all", () => {
      list.chosen = new Set(all ? [] : list.issues.map((one) => one.id));
      redraw();
    }, { "data-key": "all" }),
    select("New status", [["", "as it is"], ...named(STATUSES)], list.bulk.status ?? "", wished("status")),
    known.length > 0 && select("New assignee", [["", "as it is"], ["nobody", "nobody"], ...known], list.bulk.assignee ?? "", wished("assignee")),
    button(`Change ${list.chosen.size} selected`, changeAll, { disabled: !some, "data-key": "change" }));
}

// Write the same change to each selected issue, unless somebody changed it since it was read. Each row tells its outcome.
async function changeAll() {
  const change = {};
  if (list.bulk.status) change.status = list.bulk.status;
  if (list.bulk.assignee) change.assignee_id = list.bulk.assignee === "nobody" ? null : list.bulk.assignee;
  if (Object.keys(change).length === 0) return tell("Choose a new status or a new assignee first.", true);
  list.outcomes.clear();
  const todo = list.issues.filter((one) => list.chosen.has(one.id));
  const sums = { written: 0, stale: 0, failed: 0 };
  const worker = async () => { for (let one = todo.shift(); one; one = todo.shift()) sums[await changed(one, change)] += 1; };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  list.chosen = new Set([...list.chosen].filter((id) => list.outcomes.get(id)?.isBad));
  const told = [`${sums.written} changed.`];
  if (sums.stale) told.push(`${sums.stale} changed by somebody else since you read them, so not written.`);
  if (sums.failed) told.push(`${sums.failed} failed.`);
  return redraw({ said: [told.join(" "), told.length > 1] });
}

async function changed(issue, change) {
  try {
    Object.assign(issue, briefly(await ask("update_issue", { issue_id: issue.id, expect_updated_at: issue.updated_at, ...change })));
    list.outcomes.set(issue.id, { text: "changed" });
    return "written";
  } catch (failure) {
    const current = failure.error?.current;
    if (current) Object.assign(issue, briefly(current));
    const text = current ? `Changed by somebody else meanwhile; it is ${current.status} now. Not written.` : failure.message;
    list.outcomes.set(issue.id, { text, isBad: true });
    return current ? "stale" : "failed";
  }
}

const briefly = ({ status, severity, category, assignee_id, updated_at, last_activity_at, title }) =>
  ({ status, severity, category, assignee_id, updated_at, last_activity_at, title });
