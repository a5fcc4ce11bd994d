"""The op table, a file per family; `families` imports them all and so fills it."""
