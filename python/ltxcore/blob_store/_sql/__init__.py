"""All that speaks SQL: the tables, what is read from them, and what changes them."""
