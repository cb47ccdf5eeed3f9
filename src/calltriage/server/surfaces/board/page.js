// The board as a page of its own: an ordinary client of the 2026-07-28 wire, one POST for each call.
const VERSION = "2026-07-28", META = "io.modelcontextprotocol/";
const reaches = () => true;
const share = () => {};
const openLink = (url) => window.open(url, "_blank", "noopener");
let lastId = 0;

async function send(name, given, more) {
  const about = { [`${META}protocolVersion`]: VERSION, [`${META}clientInfo`]: { name: "calltriage board", version: offer.version },
    [`${META}clientCapabilities`]: { elicitation: { form: {} } } };
  const params = { name, arguments: given, ...more, _meta: { ...about, ...more?._meta } };
  const headers = { accept: "application/json, text/event-stream", "content-type": "application/json",
    "mcp-protocol-version": VERSION, "mcp-method": "tools/call", "mcp-name": name };
  const body = JSON.stringify({ jsonrpc: "2.0", id: ++lastId, method: "tools/call", params });
  const response = await fetch("mcp", { method: "POST", headers, body }).catch(() => {
    throw new Refused({ message: "The server does not answer." });
  });
  if (response.status === 401) {
    await signIn();
    return send(name, given, more);
  }
  const { result } = await messageOf(response);
  if (!result) throw new Refused({ message: `The server refused the request (${response.status}).` });
  if (result.resultType !== "input_required") return result;
  const inputResponses = {};
  for (const [key, one] of Object.entries(result.inputRequests ?? {})) {
    inputResponses[key] = { action: "accept", content: { confirm: await agreed(one.params?.message ?? "") } };
  }
  return send(name, given, { inputResponses, requestState: result.requestState });
}

// The answer of a POST: JSON, or the last message of an event stream.
async function messageOf(response) {
  const text = await response.text();
  const events = text.split("\n").filter((line) => line.startsWith("data:")).map((line) => line.slice(5));
  try {
    return JSON.parse(response.headers.get("content-type")?.startsWith("text/event-stream") ? events.at(-1) : text);
  } catch {
    return {};
  }
}

// A code, good once, or the server's token, for a cookie that scripts cannot read.
async function signIn(code) {
  let given = code;
  for (;;) {
    if (!given) {
      const field = el("input", { type: "password", autocomplete: "off" });
      const about = "The code that the server printed when it started, or its access token";
      if (!(await dialog("Sign in", el("label", {}, about, field), [["Sign in", true]]))) throw new Refused({ message: "Not signed in." });
      given = field.value.trim();
    }
    const answer = await fetch("ui/session", { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ code: given }) });
    if (answer.ok) return;
    given = "";
    tell("This code is used up or wrong.", true);
  }
}

async function start() {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const suited = () => suit({ theme: dark.matches ? "dark" : "light" });
  dark.addEventListener("change", suited);
  suited();
  const code = location.hash.slice(1);
  history.replaceState(null, "", location.pathname);
  if (code) await signIn(code);
  await show({ screen: "queue" });
}
