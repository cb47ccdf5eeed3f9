// The board as a page of its own: an ordinary client of the 2026-07-28 wire, one POST for each call.
const VERSION = "2026-07-28", META = "io.modelcontextprotocol/";
const reaches = () => true;
const share = () => {};
const openLink = (url) => window.open(url, "_blank", "noopener");
let lastId = 0;

// One request, as the newest wire has it: no handshake, all that it needs in itself.
async function request(method, given, more) {
  const about = { [`${META}protocolVersion`]: VERSION, [`${META}clientInfo`]: { name: "calltriage board", version: "1" },
    [`${META}clientCapabilities`]: { elicitation: { form: {} } } };
  const params = { ...given, ...more, _meta: { ...about, ...more?._meta } };
  const headers = { accept: "application/json, text/event-stream", "content-type": "application/json",
    "mcp-protocol-version": VERSION, "mcp-method": method, ...(given.name && { "mcp-name": given.name }) };
  const body = JSON.stringify({ jsonrpc: "2.0", id: ++lastId, method, params });
  const response = await fetch("mcp", { method: "POST", headers, body }).catch(() => {
    throw new Refused({ message: "The server does not answer." });
  });
  if (response.status === 401) {
    await signIn();
    return request(method, given, more);
  }
  const { result } = await messageOf(response);
  if (!result) throw new Refused({ message: `The server refused the request (${response.status}).` });
  return result;
}

// Call a tool; a question of the server's is put to the person, and the call is made again with the reply.
async function send(name, given, more) {
  const result = await request("tools/call", { name, arguments: given }, more);
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
async function exchanged(code) {
  const headers = { "content-type": "application/json" };
  return (await fetch("ui/session", { method: "POST", headers, body: JSON.stringify({ code }) })).ok;
}

async function signIn() {
  const field = el("input", { type: "password", autocomplete: "off" });
  const about = "The code that the server printed when it started, or its access token";
  if (!(await dialog("Sign in", el("label", {}, about, field), [["Sign in", true]]))) throw new Refused({ message: "Not signed in." });
  if (await exchanged(field.value.trim())) return;
  tell("This code is wrong or used up.", true);
  await signIn();
}

// A removal that an agent could not ask about. It is made here, so that the server asks about what would go now.
async function confirm(id) {
  const about = (more) => fetch("ui/questions", { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ id, ...more }) });
  const waits = await about({});
  if (!waits.ok) return tell("No question waits under this name: it was answered, or its ten minutes are over.", true);
  const { tool, arguments: given } = await waits.json();
  const said = { agreed: true };
  try {
    await ask(tool, given);
    tell("Removed.");
  } catch (failure) {
    said.agreed = false;
    tell(failure.message, true);
    if (failure.code !== "confirmation_declined") return undefined;
  }
  await about(said);
  return show({ screen: "queue" });
}

async function start() {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const suited = () => suit({ theme: dark.matches ? "dark" : "light" });
  dark.addEventListener("change", suited);
  suited();
  const [code, question] = location.hash.slice(1).split(".");
  history.replaceState(null, "", location.pathname);
  if (code) await exchanged(code); // one that is used up leads to the question for another, unless a cookie is there
  offer.tools = (await request("tools/list", {})).tools.map((one) => one.name);
  await show({ screen: "queue" });
  if (question) await confirm(question);
}
