"""Plans of writes, as an agent makes and applies them."""

from __future__ import annotations

from typing import Any

from mcp.client import Client
from tool_calls import ok


def write(tool: str, **arguments: Any) -> dict[str, Any]:
    return {"tool": tool, "arguments": arguments}


NEW = {"title": "Card is replaced without a check", "severity": "high", "category": "Dialogue"}
A_CASE = [
    write("create_issue", **NEW),
    write("attach_resource", issue_id="$1", resource_type="call", resource_id="call-card"),
    write("add_flag", issue_id="$1", call_id="call-card", type="no_check", quote="which card would you like"),
    write("add_comment", issue_id="$1", detail="It costs $5; see $1."),
    write("update_flag", issue_id="$1", flag_id="$3", note="He never asks."),
]


async def planned(agent: Client, *writes: dict[str, Any]) -> dict[str, Any]:
    return await ok(agent, "plan_triage", writes=list(writes))


async def applied(agent: Client, plan: dict[str, Any], **more: Any) -> dict[str, Any]:
    return await ok(agent, "apply_plan", plan_id=plan["plan_id"], seal=plan["seal"], **more)
