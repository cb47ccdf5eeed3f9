"""The triage vendor's post-call webhook, which the desk and a pipeline's watch take."""

from __future__ import annotations

SIGNATURE_HEADER = "x-webhook-signature"
"""Has the HMAC-SHA256 of the body in hexadecimal digits (docs.bland.ai, "Webhook Signing")."""
MAX_WEBHOOK = 8 * 2**20
"""Most bytes of a webhook's body: enough for the largest call that can be read back."""
