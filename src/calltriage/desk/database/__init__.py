"""The desk's rows: tables, store, transaction, search, migrations, backup."""
