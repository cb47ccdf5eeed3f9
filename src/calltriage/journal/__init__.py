"""The journal: what was asked to be written and what became of it, append-only and chained. See `journal.Journal`.

What a row keeps: who asked (a keyed digest), by which tool, the operation, its arguments, its outcome and its answer. So it
holds the titles, notes and comments that were written, because `replay` must be able to write them again and a repeated
idempotency key must get its first answer. It never holds credentials, signed links, file bytes or an idempotency key
itself. What is shown of it (`calltriage journal show`, `triage://journal/recent`) has free text as hashes.
"""
