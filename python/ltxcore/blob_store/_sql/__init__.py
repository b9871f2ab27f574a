"""SQLite and the tables: what is read from them, and what changes them."""
