// One issue with everything that it rests on: fields, flagged moments, a call, evidence, links, activity.
const LISTS = ["flags", "resources", "relations", "activity"];
const rowsOf = (evidence, name) => evidence[name]?.items ?? [];

// Open an issue by its id, or draw what a host has already read of it.
const openIssue = (id, evidence, said) => id && show({ screen: "issue", id, evidence }, { said });

SCREENS.issue = { drawn: issueScreen, takes: (body) => (body.issue
  ? openIssue(body.issue.id, LISTS.some((name) => body[name]) ? body : undefined)
  : openIssue(body.id, can("get_evidence") ? undefined : { issue: body })) };

async function issueScreen(place) {
  const evidence = place.evidence ?? await ask("get_evidence", { issue_id: place.id, max_tokens: 12000 });
  place.evidence = undefined; // what is shown again is read again
  const { issue } = evidence;
  place.id = issue.id;
  share({ issue_id: issue.id, ticket: issue.triage_id });
  const calls = rowsOf(evidence, "resources").filter((one) => one.resource_type === "call").map((one) => one.resource_id);
  const known = await people();
  const node = el("div", {}, el("h1", { tabindex: "-1" }, `${issue.triage_id} ${issue.title}`),
    issue.has_unread_activity && unseen(issue),
    fieldsOf(issue, known),
    issue.description && el("p", { class: "text" }, issue.description),
    await firstCall(calls[0], evidence),
    part("Flags", evidence, "flags", (flag) => flagCard(flag, issue)),
    part("Evidence", evidence, "resources", (one) => resourceRow(one, issue)),
    part("Links", evidence, "relations", (one) => linkRow(one, issue)),
    graph(issue, rowsOf(evidence, "relations")),
    part("Activity", evidence, "activity", (one) => el("li", {}, el("span"), facts(inWords(one.type), when(one.created_at)), el("span"), el("p", { class: "text" }, one.detail))),
    commentBox(issue), left(evidence, place));
  return { node, title: issue.triage_id, keys: {
    c: ["Open the first call", () => calls[0] && openCall(calls[0], issue.id)],
  } };
}

// The first call's strip and transcript, where the server lets them be read.
async function firstCall(callId, evidence) {
  if (!callId || !can("get_transcript")) return null;
  try {
    const turns = (await ask("get_transcript", { call_id: callId })).transcript?.turns ?? [];
    const flags = rowsOf(evidence, "flags").filter((one) => one.call_id === callId);
    const open = (index) => openCall(callId, evidence.issue.id, index);
    return section("First call", button(callId, () => open(), { class: "link" }),
      strip(turns, flags, open), el("details", {}, el("summary", {}, `Transcript, ${count(turns.length, "turn")}`),
        el("ol", { class: "turns" }, turns.map((turn) => plainTurn(turn, flags.some((one) => one.message_index === turn.message_index))))));
  } catch (failure) {
    return el("p", { class: "note" }, `The first call cannot be read: ${failure.message}`);
  }
}

function part(title, evidence, name, drawn) {
  const rows = rowsOf(evidence, name);
  if (rows.length === 0) return null;
  return section(`${title} (${rows.length})`, el("ul", { class: "rows" }, rows.map(drawn)));
}

function unseen(issue) {
  const seen = async () => {
    await ask("mark_issue_viewed", { issue_id: issue.id });
    openIssue(issue.id, undefined, ["Marked as seen."]);
  };
  return el("p", {}, el("strong", { class: "pill" }, "new activity"), " ", can("mark_issue_viewed") && button("Mark as seen", seen));
}

function fieldsOf(issue, known) {
  const may = can("update_issue");
  const field = (name, label, options) => [el("dt", {}, label), el("dd", {}, may && options
    ? select(label, options, issue[name] ?? "", (value) => change(issue, { [name]: value || null }), true)
    : issue[name] ?? "nobody")];
  return el("dl", {}, field("status", "Status", named(STATUSES)), field("severity", "Severity", named(SEVERITIES)),
    field("assignee_id", "Assignee", known.length > 0 && [["", "nobody"], ...known]), el("dt", {}, "Category"), el("dd", {}, issue.category),
    el("dt", {}, "Filed"), el("dd", {}, when(issue.created_at)), el("dt", {}, "Last activity"), el("dd", {}, when(issue.last_activity_at)));
}

// Write a change unless somebody else was first; then the person sees what it is now and decides.
async function change(issue, fields, expected = issue.updated_at) {
  const told = Object.entries(fields).map(([name, value]) => `${name.replace("_id", "")} ${value ?? "nobody"}`);
  let said = [`Changed: ${told.join(", ")}.`];
  try {
    await ask("update_issue", { issue_id: issue.id, expect_updated_at: expected, ...fields });
  } catch (failure) {
    const current = failure.error?.current;
    if (!current) said = [failure.message, true];
    else {
      const now = Object.keys(fields).map((name) => `${name.replace("_id", "")}: ${current[name] ?? "nobody"}`).join(", ");
      if (await overrules("issue", `Your change was not written. Now it has ${now}, changed `, when(current.updated_at))) return change(issue, fields, current.updated_at);
      said = ["Not written: somebody else changed this issue meanwhile.", true];
    }
  }
  return openIssue(issue.id, undefined, said);
}

function flagCard(flag, issue) {
  return el("li", {}, el("span"), el("div", {}, el("strong", {}, flag.type), " ", flag.note && el("span", {}, flag.note),
    flag.turns ? el("ol", { class: "turns" }, flag.turns.map((turn) => plainTurn(turn, turn.message_index === flag.message_index)))
      : el("p", { class: "text" }, flag.message_text ?? flag.moment?.text),
    el("div", { class: "tools" }, flag.call_id && can("get_transcript") &&
      button("Open in its call", () => openCall(flag.call_id, issue.id, flag.message_index), { "data-key": `see ${flag.id}` }),
    flagButtons(flag, issue.id))));
}

function resourceRow(one, issue) {
  return el("li", {}, el("span"), resourceName(one, issue),
    facts(one.resource_id, one.attachment && fileFacts(one.attachment), when(one.metadata?.created_at ?? one.created_at),
    can("remove_resource") && button("Detach", () => removed("remove_resource", { issue_id: issue.id, resource_link_id: one.id }, "Detached."),
      { "data-key": `detach ${one.id}` })));
}

const saidOf = (one) => `${one.direction === "incoming" ? "is named by" : ""} ${inWords(one.relation_type)}`.trim();
const otherEnd = (one, issue) => (one.related_issue_id === issue.id ? one.issue_id : one.related_issue_id);

function linkRow(one, issue) {
  return el("li", {}, el("span"), button(`${one.related_triage_id ?? ""} ${one.related_title ?? ""}`, () => openIssue(otherEnd(one, issue)),
    { class: "link", "data-key": `link ${one.id}` }),
  facts(saidOf(one),
    can("remove_relation") && button("Unlink", () => removed("remove_relation", { issue_id: issue.id, relation_id: one.id }, "Unlinked."),
      { "data-key": `unlink ${one.id}` })));
}

// The links as a picture, for who likes one better than the list above it.
function graph(issue, relations) {
  const ends = relations.slice(0, 50);
  if (ends.length < 2) return null;
  const spot = (place) => [200 + 150 * Math.cos((2 * Math.PI * place) / ends.length), 110 + 85 * Math.sin((2 * Math.PI * place) / ends.length)];
  const dot = ([x, y], name) => [drawn("circle", { cx: x, cy: y, r: 5 }), drawn("text", { x, y: y - 9 }, name)];
  return drawn("svg", { viewBox: "0 0 400 220", width: 400, role: "img", "aria-label": `${issue.triage_id} and ${count(ends.length, "linked issue")}` },
    ends.map((one, place) => drawn("line", { x1: 200, y1: 110, x2: spot(place)[0], y2: spot(place)[1] })),
    dot([200, 110], issue.triage_id), ends.map((one, place) => dot(spot(place), one.related_triage_id ?? "?")));
}

function resourceName(one, issue) {
  const name = one.title ?? one.resource_id;
  if (one.resource_type === "call" && can("get_transcript")) return button(`Call ${name}`, () => openCall(one.resource_id, issue.id), { class: "link" });
  const file = one.attachment;
  return file && can("download_attachment")
    ? button(`File ${file.name ?? name}`, () => openFile(file.id ?? one.resource_id), { class: "link", "data-key": `file ${one.id}` })
    : el("span", {}, `${one.resource_type}: ${file?.name ?? name}`);
}

const fileFacts = (file) => [file.type, Number.isInteger(file.size) && count(file.size, "byte")];

async function removed(tool, given, words) {
  try {
    await ask(tool, given);
  } catch (failure) {
    return flagsChanged(failure.message, true);
  }
  return flagsChanged(words);
}

function commentBox(issue) {
  if (!can("add_comment")) return null;
  const text = el("textarea", { "data-key": "comment" });
  const write = async () => {
    if (!text.value.trim()) return tell("Write the comment first.", true);
    try {
      await ask("add_comment", { issue_id: issue.id, detail: text.value });
      return await openIssue(issue.id, undefined, ["Comment added."]);
    } catch (failure) {
      return tell(failure.message, true);
    }
  };
  return section("Comment", el("label", {}, "Your comment", text), el("div", { class: "tools" }, button("Add comment", write)));
}

// What did not fit into the answer, and the way to read on in a list.
function left(evidence, place) {
  const gaps = (evidence.omitted ?? []).filter((gap) => gap.left_out !== 0);
  const more = (gap) => async () => {
    const name = gap.section;
    const next = await ask("get_evidence", gap.try_next.arguments);
    evidence[name] = { ...evidence[name], items: [...rowsOf(evidence, name), ...rowsOf(next, name)] };
    evidence.omitted = [...gaps.filter((one) => one !== gap), ...(next.omitted ?? [])];
    openIssue(place.id, evidence);
  };
  return gaps.map((gap) => el("p", { class: "note" }, `${gap.left_out ?? "Some"} of ${gap.section} left out. `,
    LISTS.includes(gap.section) && gap.try_next?.tool === "get_evidence" && button(`More ${gap.section}`, more(gap))));
}
