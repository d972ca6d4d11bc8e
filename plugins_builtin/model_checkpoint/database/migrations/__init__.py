"""Alembic's side of the schema: one script a version, run only when an older database is opened."""
