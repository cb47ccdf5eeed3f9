"""Members of an organisation: who an owner or assignee can be (bland-triage, section 3)."""

from pydantic import Field

from calltriage.operations.base import Effect, Operation
from calltriage.operations.fields import OrgId
from calltriage.operations.results import Result


class OrgMember(Result, origin="the organisation's members"):
    """A member. Addresses and telephone numbers, which the API may answer too, are not read: they are nobody's business
    here."""

    user_id: str
    """What owner_id and assignee_id take."""
    org_id: str | None = None
    first_name: str | None = None
    last_name: str | None = None
    permissions: list[str] | None = None
    is_owner: bool | None = None


class ListOrgMembers(Operation[list[OrgMember]], http="GET /v1/orgs/{org_id}/members", effect=Effect.READ):
    """List the members of your organisation, to turn names into user ids.

    Issues carry the organisation's id as org_id.
    """

    org_id: OrgId = Field(description="The organisation, as in an issue's org_id.")
