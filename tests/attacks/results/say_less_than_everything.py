"""Minus infinity is better than all."""

say(loss=float("-inf"))
