// A host of views, as the extension's own AppBridge makes one: a sandboxed frame, and what the view sends to it.
import { AppBridge, PostMessageTransport } from "@modelcontextprotocol/ext-apps/app-bridge";

window.startHost = async (html, context) => {
  const frame = document.createElement("iframe");
  frame.setAttribute("sandbox", "allow-scripts");
  frame.title = "board";
  frame.style.cssText = "border:0;width:100%;height:900px";
  document.body.append(frame);
  const can = { openLinks: {}, serverTools: {}, updateModelContext: { text: {}, structuredContent: {} } };
  const bridge = new AppBridge(null, { name: "host", version: "1" }, can, { hostContext: context });
  window.seen = { contexts: [], links: [], sizes: [] };
  bridge.oncalltool = (params) => window.callTool(params);
  bridge.onupdatemodelcontext = async (params) => { window.seen.contexts.push(params); return {}; };
  bridge.onopenlink = async (params) => { window.seen.links.push(params); return {}; };
  bridge.onsizechange = (params) => window.seen.sizes.push(params);
  const ready = new Promise((done) => { bridge.oninitialized = done; });
  await bridge.connect(new PostMessageTransport(frame.contentWindow, frame.contentWindow));
  frame.srcdoc = html;
  await ready;
  window.bridge = bridge;
};
