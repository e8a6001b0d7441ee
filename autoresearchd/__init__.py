"""A git-native research daemon: every experiment a branch, every outcome a commit trailer, `best` only forward."""

__version__ = "0.1.0"
