"""Fixtures of the views' tests."""

from tests.report.lab import lab

__all__ = ["lab"]
