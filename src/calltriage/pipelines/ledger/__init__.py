"""What pipelines remember: runs, items, results, findings, reviews, incidents, spend, effects. SQLAlchemy is imported at
the first use of a database."""

from calltriage.pipelines.ledger.ledger import Ledger, open_ledger

__all__ = ["Ledger", "open_ledger"]
