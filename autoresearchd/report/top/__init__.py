"""`autoresearchd top`: the lab on a whole terminal, from a process of its own. Steers by control files only."""

from autoresearchd.report.top.session import watch

__all__ = ["watch"]
