// What the board asks of the server. How it gets there is view.js, through a host, or page.js, over HTTP.
const offer = JSON.parse(by("offer").textContent);

// Every screen by its name. One is drawn by its function 'drawn'; one with a label and a key is reached from everywhere where
// its tool is offered; 'takes' shows the answer of a tool that the host called, if it is this screen's.
const SCREENS = {};
const homes = () => Object.entries(SCREENS).filter(([, one]) => one.label && can(one.tool));
const isHome = (screen) => homes().some(([name]) => name === screen);
const goHome = (more) => homes().length > 0 && show({ screen: homes()[0][0] }, more);
const can = (tool) => offer.tools.includes(tool) && reaches();

// The body of a tool's answer. Throws Refused.
async function ask(tool, given, more) {
  const result = await send(tool, given, more);
  const body = result.structuredContent ?? {};
  const question = result._meta?.["calltriage/question"];
  if (result.isError && question && !more) return panel(question);
  if (result.isError) throw new Refused(body.error ?? {});
  return body;
}

// Ask what the server could not: a yes makes the same call again, with what the server gave for it.
async function panel({ text, seal, tool, arguments: given }) {
  if (await agreed(text)) return ask(tool, given, { _meta: { "calltriage/confirmed": seal } });
  throw new Refused({ code: "confirmation_declined", message: "Nothing was removed." });
}

// Suit the surroundings: theme, colours, fonts, zone. Names of styles are bounded, since they are the host's own.
function suit({ theme, styles, locale, timeZone }) {
  const root = document.documentElement;
  if (theme) root.dataset.theme = theme === "dark" ? "dark" : "light";
  for (const [name, value] of Object.entries(styles?.variables ?? {})) {
    if (/^--[a-z0-9-]{1,64}$/.test(name) && typeof value === "string") root.style.setProperty(name, value);
  }
  try {
    new Intl.DateTimeFormat(locale, { timeZone });
    Object.assign(zone, { locale: locale ?? zone.locale, timeZone: timeZone ?? zone.timeZone });
  } catch { /* a zone that this browser does not know */ }
}
