"""The report of a morning: one file that says what a lab found. Made from facts; never writes to git."""
