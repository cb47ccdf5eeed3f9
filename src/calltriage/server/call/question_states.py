"""The state of a question goes to the client and comes back with the reply: sealed, and bound to the call and the caller."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp_types.methods import is_input_required

from calltriage.leaves.seals import Seals
from calltriage.server.call.write_record import who
from calltriage.server.questions import SECONDS

if TYPE_CHECKING:
    from mcp.server.request_state import RequestStateBoundary

STATE = "question"
"""Kind of the handle that holds the state of a question."""


@dataclass
class QuestionStates:
    """Middleware that lets the SDK seal and open each state. The SDK's part is loaded with the first one: it brings
    `cryptography`, 9 MiB, and most servers never ask."""

    seals: Seals

    async def __call__(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        if ctx.params is not None and ctx.params.get("requestState") is not None:
            return await self._boundary(ctx, call_next)
        result = await call_next(ctx)
        if not is_input_required(result):
            return result

        async def answered(_: ServerRequestContext[Any, Any]) -> HandlerResult:
            return result

        return await self._boundary(ctx, answered)

    @cached_property
    def _boundary(self) -> RequestStateBoundary:
        from mcp.server.request_state import RequestStateBoundary, RequestStateSecurity  # noqa: PLC0415

        security = RequestStateSecurity(
            codec=_Sealed(self.seals), ttl=SECONDS, bind_principal=lambda ctx: who(ctx.request)
        )
        return RequestStateBoundary(security, default_audience="calltriage")


@dataclass(frozen=True)
class _Sealed:
    """How the SDK seals a state: any server with the same secret can read the reply."""

    seals: Seals

    def seal(self, payload: bytes) -> str:
        return self.seals.sealed(STATE, SECONDS, payload.decode())

    def unseal(self, token: str) -> bytes:
        from mcp.server.request_state import InvalidRequestState  # noqa: PLC0415

        match self.seals.opened(STATE, token):
            case [str(payload)]:
                return payload.encode()
            case _:
                raise InvalidRequestState("not sealed here, or too old")
