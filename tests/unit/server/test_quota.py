"""How often a caller may call."""

from __future__ import annotations

import pytest
from mcp.client import Client as McpClient
from mcp.shared.exceptions import MCPError
from tool_calls import ok, refused

from calltriage.client.client import Client
from calltriage.errors import RateLimited
from calltriage.operations.flags import ListFlagTypes
from calltriage.operations.relations import LinkIssue
from calltriage.server import quota as quota_module
from calltriage.server.app import build_server
from calltriage.server.quota import Quota


class Watch:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def passed(quota: Quota, who: str = "a", calls: int = 1000, tool: type = LinkIssue) -> int:
    """How many of so many calls at one instant pass."""
    count = 0
    for _ in range(calls):
        try:
            quota.take(who, tool)
            count += 1
        except RateLimited:
            pass
    return count


@pytest.mark.parametrize(("per_minute", "burst"), [(120, 60), (7, 3), (1, 1), (2000, 1000)])
def test_of_a_thousand_calls_at_once_exactly_the_burst_passes_and_then_what_time_gives(
    per_minute: int, burst: int
) -> None:
    watch = Watch()
    quota = Quota(per_minute, watch)
    assert passed(quota) == burst
    watch.now += 60
    assert passed(quota, calls=5000) == min(per_minute, burst)
    watch.now += 3600
    assert passed(quota) == burst, "time at rest is not saved up"


def test_each_caller_and_each_tool_has_its_own_and_reading_ten_times_as_much() -> None:
    quota = Quota(10, Watch())
    assert [passed(quota, "a"), passed(quota, "b"), passed(quota, "a")] == [5, 5, 0]
    assert passed(quota, "a", tool=ListFlagTypes) == 50
    assert passed(Quota(0, Watch())) == 1000


def test_the_wait_is_as_long_as_it_says() -> None:
    watch = Watch()
    quota = Quota(30, watch)
    passed(quota)
    with pytest.raises(RateLimited) as refusal:
        quota.take("a", LinkIssue)
    assert refusal.value.retry_after_s == 2
    watch.now += 2
    quota.take("a", LinkIssue)


def test_callers_at_rest_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quota_module, "KNOWN", 100)
    watch = Watch()
    quota = Quota(60, watch)
    for number in range(1000):
        watch.now += 1
        quota.take(f"caller {number}", LinkIssue)
    assert len(quota._used_until) <= 100  # pyright: ignore[reportPrivateUsage]
    assert passed(quota, "caller 999") == 29, "who was just here is remembered"


def test_what_is_kept_of_callers_is_bounded_though_none_is_at_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quota_module, "KNOWN", 100)
    quota = Quota(60, Watch())
    assert passed(quota, "busy") == 30
    for number in range(1000):
        quota.take(f"caller {number}", LinkIssue)
    assert len(quota._used_until) <= 100  # pyright: ignore[reportPrivateUsage]
    assert passed(quota, "busy") == 0, "the busiest is remembered"


async def test_an_agent_that_goes_in_circles_is_told_to_stop_and_nothing_is_written(client: Client) -> None:
    async with McpClient(build_server(client, version="0", writes_per_minute=4)) as agent:
        new = {"title": "T", "severity": "low", "category": "Bug", "on_duplicate": "create"}
        for _ in range(2):
            await ok(agent, "create_issue", **new)
        error = await refused(agent, "create_issue", **new)
        assert (error["code"], error["retryable"], error["outcome"]) == ("too_many_calls", True, "not_committed")
        assert 1 <= error["retry_after_s"] <= 15
        assert (await ok(agent, "list_issues"))["returned"] == 2
        for _ in range(20):
            await agent.read_resource("triage://flag-types")
        with pytest.raises(MCPError, match="too often"):
            await agent.read_resource("triage://flag-types")
