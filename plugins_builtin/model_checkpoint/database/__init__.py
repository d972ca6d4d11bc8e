"""Record stores on SQL databases: SQLite, the default, from one schema that a server's database can share."""
