"""What a person or a script gets to see: read-only views of the ledger and the status; nothing here writes to git."""
