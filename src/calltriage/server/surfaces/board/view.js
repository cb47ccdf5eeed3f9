// The board as a view of a host (MCP Apps): JSON-RPC in messages to the window around it.
let allowed = {}, lastId = 0;
const watch = () => {}; // calls of a view go through its host, and some hosts ask their person about each
const waiting = new Map();
const isPage = false;
const reaches = () => allowed.serverTools !== undefined;
const post = (message) => window.parent.postMessage({ jsonrpc: "2.0", ...message }, "*");
const request = (method, params) => new Promise((done, failed) => {
  waiting.set(++lastId, { done, failed });
  post({ id: lastId, method, params });
});

async function send(name, given, more) {
  try {
    return await request("tools/call", { name, arguments: given, ...more });
  } catch {
    throw new Refused({ message: "The host did not let the board call the server." });
  }
}

const HEARD = {
  "ui/notifications/tool-result": arrived,
  "ui/notifications/host-context-changed": suit,
  "ui/notifications/tool-cancelled": () => tell("The call was cancelled.", true),
};

window.addEventListener("message", ({ source, data }) => {
  if (source !== window.parent || data?.jsonrpc !== "2.0") return;
  const { id, method, params, result, error } = data;
  if (method === undefined) {
    const asked = waiting.get(id);
    waiting.delete(id);
    if (error) asked?.failed(error);
    else asked?.done(result);
  } else if (id === undefined) HEARD[method]?.(params ?? {});
  else if (method === "ping" || method === "ui/resource-teardown") post({ id, result: {} });
  else post({ id, error: { code: -32601, message: "no such method" } });
});

// What the host's call brought: evidence, an issue alone, or a removal that waits for a person's yes.
async function arrived({ structuredContent: body = {}, isError, _meta }) {
  const question = _meta?.["calltriage/question"];
  if (question) {
    const { outcome } = await panel(question).catch((failure) => ({ outcome: failure.code }));
    tell(outcome === "committed" ? "Removed." : "Nothing was removed.");
    share({ tool: question.tool, ...question.arguments, outcome }, "answered");
  }
  else if (isError) tell(body.error?.message ?? "The call failed.", true);
  if (question || isError) goHome();
  else Object.values(SCREENS).some((one) => one.takes?.(body));
}

// Let the agent know what the person looks at, in ids alone: words of a caller would lose their mark of being untrusted.
function share(ids, does = "looks at") {
  if (allowed.updateModelContext === undefined) return;
  const plain = Object.fromEntries(Object.entries(ids).filter(([, one]) => Number.isInteger(one) || /^[A-Za-z0-9_.-]{1,64}$/.test(one ?? "")));
  const told = Object.entries(plain).map((pair) => pair.join(" ")).join(", ");
  const text = `The person ${does} ${told}.`;
  request("ui/update-model-context", { content: [{ type: "text", text }], structuredContent: plain }).catch(() => {});
}

// A frame may play nothing and load nothing: the page does.
const player = (callId) => can("get_call_recording") && el("p", { class: "note" }, `The recording of ${callId} plays on the board's page: calltriage board.`);

// What an attachment holds: a text to read here, or a link that the host opens.
async function openFile(id) {
  const { name, text, note, link } = await ask("download_attachment", { attachment_id: id }).catch((failure) => ({ text: failure.message }));
  if (link) return request("ui/open-link", { url: link.url }).catch(() => tell("The host did not open the link.", true));
  return dialog(name ?? "File", el("p", { class: "text" }, text ?? note ?? "A picture, which the page shows: calltriage board."), [["Close", null]]);
}

function keepSize() {
  let timer;
  new ResizeObserver(() => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      const { width, height } = document.body.getBoundingClientRect();
      post({ method: "ui/notifications/size-changed", params: { width: Math.ceil(width), height: Math.ceil(height) } });
    }, 100);
  }).observe(document.body);
}

async function start() {
  const appInfo = { name: "calltriage board", version: offer.version };
  const said = await request("ui/initialize", { protocolVersion: "2026-01-26", appInfo, appCapabilities: {} });
  allowed = said.hostCapabilities ?? {};
  suit(said.hostContext ?? {});
  post({ method: "ui/notifications/initialized" });
  keepSize();
}
