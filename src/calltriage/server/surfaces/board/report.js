// A pipeline's report: figures by detector with their precision, findings by day, incidents.
const SPANS = [["24h", "24 hours"], ["7d", "7 days"], ["30d", "30 days"], ["90d", "90 days"]];
const wanted = { pipeline: "", since: "7d" };

SCREENS.report = { drawn: reportScreen, label: "Report", tool: "get_pipeline_report", key: "r" };

async function reportScreen() {
  const report = await ask("get_pipeline_report", { since: wanted.since, ...(wanted.pipeline && { pipeline: wanted.pipeline }) });
  const narrowed = (name) => (value) => { wanted[name] = value; show({ screen: "report" }); };
  const total = report.detectors.reduce((sum, one) => sum + one.findings, 0);
  const node = el("div", {}, el("h1", { tabindex: "-1" }, "Report"),
    el("div", { class: "tools", role: "search" },
      select("Pipeline", [["", "all"], ...(report.pipelines ?? []).map((one) => [one, one])], wanted.pipeline, narrowed("pipeline")),
      select("Time", SPANS, wanted.since, narrowed("since"))),
    facts(`${count(report.calls, "call")} examined`, count(total, "finding"), el("span", {}, when(report.since), " to ", when(report.until))),
    report.detectors.length > 0 && [detectorTable(report.detectors),
      el("p", { class: "note" }, "Right: of the findings that people gave a verdict on, those of the detector's present version, with the 95 % interval. A detector that finds nothing does not say that a call is fine.")],
    daysOf(Object.entries(report.days ?? {})),
    report.incidents?.length > 0 && section(`Incidents (${report.incidents.length})`,
      el("ul", { class: "rows" }, report.incidents.map(incidentRow))));
  return { node, title: "Report", keys: {} };
}

const percent = (share) => `${Math.round(share * 100)} %`;
const COLUMNS = [["Detector", (one) => inWords(one.detector)], ["Calls", (one) => one.calls], ["Failed", (one) => one.failed ?? 0], ["Findings", (one) => one.findings],
  ["Waiting", (one) => one.states?.new ?? 0], ["Filed", (one) => one.states?.filed ?? 0], ["Dismissed", (one) => one.states?.dismissed ?? 0],
  ["Seen", (one) => one.seen], ["Right", (one) => (one.reviewed ? `${percent(one.precision)} of ${one.reviewed} (${percent(one.low)} to ${percent(one.high)})` : "no verdict yet")]];

const detectorTable = (detectors) => el("div", { class: "table", role: "region", "aria-label": "Detectors", tabindex: 0 },
  el("table", {}, el("thead", {}, el("tr", {}, COLUMNS.map(([title]) => el("th", { scope: "col" }, title)))),
    el("tbody", {}, detectors.map((one) => el("tr", {}, COLUMNS.map(([, cell], n) => el(n ? "td" : "th", n ? {} : { scope: "row" }, `${cell(one)}`)))))));

// Findings by day, as bars; the list beside them says the same in words.
function daysOf(days) {
  if (days.length === 0) return null;
  const most = Math.max(...days.map(([, many]) => many));
  return section("Findings by day of the call",
    el("ul", { class: "days" }, days.slice(-31).map(([day, many]) => {
      const bar = el("span", { class: "bar" });
      bar.style.width = `${((100 * many) / most).toFixed(1)}%`;
      return el("li", {}, el("span", { class: "note" }, day), el("span", {}, bar), el("span", {}, `${many}`));
    })));
}

function incidentRow(one) {
  const name = `${inWords(one.detector)}: ${one.ticket ?? "no issue yet"}`;
  return el("li", {}, el("span"), one.issue_id && SCREENS.issue ? button(name, () => openIssue(one.issue_id), { class: "link", "data-key": `issue ${one.issue_id}` })
    : el("span", {}, name),
  facts(el("span", { class: "pill" }, one.state), inWords(one.kind), count(one.calls, "call"), one.last_call_at && el("span", {}, "last ", when(one.last_call_at))));
}
