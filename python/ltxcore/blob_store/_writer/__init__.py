"""The one writer: its queue, the transactions that callers share, and the space that they may take."""
