// What the TypeScript SDK, version 1, makes of the server over stdio. It prints one JSON object; the test judges it.
// Arguments: command, its arguments as JSON, its environment as JSON, its working folder.
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { ResourceUpdatedNotificationSchema } from "@modelcontextprotocol/sdk/types.js";

const [command, args, env, cwd] = process.argv.slice(2);
const transport = new StdioClientTransport({ command, args: JSON.parse(args), env: JSON.parse(env), cwd, stderr: "ignore" });
const client = new Client({ name: "typescript-v1", version: "0" });
await client.connect(transport);
const told = new Promise((resolve) =>
  client.setNotificationHandler(ResourceUpdatedNotificationSchema, (message) => resolve(message.params.uri)),
);
// Listing the tools makes the client check every later result against its tool's output schema, errors included.
const tools = (await client.listTools()).tools.map((tool) => tool.name);
const call = (name, args) => client.callTool({ name, arguments: args });
const issue = await call("create_issue", { title: "From TypeScript", severity: "low", category: "Bug" });
const ticket = issue.structuredContent.triage_id;
await client.subscribeResource({ uri: `triage://issues/${ticket}` });
const link = { issue_id: ticket, resource_type: "call", resource_id: "call-card" };
const ref = { type: "ref/prompt", name: "investigate_issue" };
const found = {
  version: client.getServerVersion(),
  tools,
  errors: {
    unknown_argument: await call("get_issue", { isue_id: ticket }),
    not_found: await call("get_issue", { issue_id: "T-99999" }),
    call_not_attached: await call("add_flag", { issue_id: ticket, call_id: "call-card", type: "x" }),
  },
  attached: await call("attach_resource", link),
  replayed: await call("attach_resource", link),
  told: await told,
  evidence: await client.readResource({ uri: `triage://issues/${ticket}/evidence` }),
  prompts: (await client.listPrompts()).prompts.map((prompt) => prompt.name),
  prompt: await client.getPrompt({ name: "investigate_issue", arguments: { issue_id: ticket } }),
  completion: (await client.complete({ ref, argument: { name: "issue_id", value: "from type" } })).completion,
  absent: await client.readResource({ uri: "triage://issues/T-99999" }).catch((error) => error.code),
};
await client.close();
console.log(JSON.stringify(found));
