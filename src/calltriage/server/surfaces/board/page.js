// The board as a page of its own: an ordinary client of the 2026-07-28 wire, one POST for each call.
const VERSION = "2026-07-28", META = "io.modelcontextprotocol/";
const isPage = true;
const reaches = () => true;
const share = () => {};
const LOOK_MS = 15_000;
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

// What changes when somebody else works on what a screen shows.
const MARKS = {
  issue: async ({ id }) => { const now = await ask("get_issue", { issue_id: id }); return `${now.updated_at} ${now.last_activity_at}`; },
  call: ({ issue }) => (issue ? MARKS.issue({ id: issue }) : ""),
  finding: async ({ id }) => { const now = await ask("get_finding", { finding_id: id }); return `${now.finding.state} ${now.reviews.length}`; },
};
let looking;

// Look now and then whether somebody else changed what is shown, and say so. Nothing is drawn anew before the person wants it.
function watch(place) {
  clearInterval(looking);
  by("changed")?.remove();
  if (!MARKS[place.screen]) return;
  let seen;
  const look = async () => {
    const now = document.hidden ? seen : await Promise.resolve(MARKS[place.screen](place)).catch(() => seen);
    seen ??= now;
    if (mine !== looking || now === seen || by("changed")) return;
    main.before(el("p", { id: "changed", class: "card", role: "status" }, "Somebody changed this since you opened it. ",
      button("Show what it is now", () => redraw(), { "data-key": "changed" })));
  };
  const mine = looking = setInterval(look, LOOK_MS);
  look();
}

// A removal that an agent could not ask about. It is made here, so that the server asks about what would go now.
async function confirm(id) {
  const about = (more) => fetch("ui/questions", { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ id, ...more }) });
  const waits = await about({});
  if (!waits.ok) return tell("No question waits under this name: it was answered, or its ten minutes are over.", true);
  const { tool, arguments: given, awaited } = await waits.json();
  if (awaited) {
    const said = { agreed: await agreed(awaited) };
    await about(said);
    return tell(said.agreed ? "You agreed. It is removed as soon as the agent's host asks again." : "Nothing was removed.");
  }
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
  return goHome();
}

// The recording of a call, in a place of its own that stays while screens come and go. Its link ends: another one is asked for.
function player(callId) {
  if (!can("get_call_recording")) return null;
  const play = async () => {
    const found = await ask("get_call_recording", { call_id: callId }).catch((failure) => tell(failure.message, true));
    const url = found?.link?.url;
    if (!url) return;
    const audio = el("audio", { id: "player", controls: true, preload: "metadata", src: new URL(url).pathname, "aria-label": `Recording of ${callId}`,
      timeupdate: () => callId === call.id && heard(audio.currentTime), error: () => tell("The recording cannot be played. Load it again.", true) });
    by("sound")?.remove();
    main.before(el("section", { id: "sound", "aria-label": "Recording" }, audio));
    tell("The recording is there. Choose a turn to hear it.");
  };
  return button("Play the recording", play);
}

// What an attachment holds: a text to read here, a picture, or a link.
async function openFile(id) {
  const result = await send("download_attachment", { attachment_id: id });
  const body = result.structuredContent ?? {}, image = result.content?.find((one) => one.type === "image");
  if (result.isError) return tell(body.error?.message ?? "It cannot be read.", true);
  if (image) {
    const bytes = Uint8Array.from(atob(image.data), (one) => one.charCodeAt(0));
    const shown = URL.createObjectURL(new Blob([bytes], { type: image.mimeType }));
    await dialog(body.name, el("img", { src: shown, alt: body.name }), [["Close", null]]);
    return URL.revokeObjectURL(shown);
  }
  if (body.link) return window.open(new URL(body.link.url).pathname, "_blank", "noopener");
  return dialog(body.name ?? "File", el("p", { class: "text" }, body.text ?? body.note), [["Close", null]]);
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
  await goHome();
  if (question) await confirm(question);
}
