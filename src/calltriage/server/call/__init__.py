"""One tool call's way in and out: the table, arguments, the record of writes, confirmation, hints."""
