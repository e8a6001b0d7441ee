"""Keys have shapes: whatever looks like one is taken out of words before they reach git, logs or prompts. Pure."""

from __future__ import annotations

import re

HIDDEN = "[key removed]"
_SHAPES = (
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
    r"\bsk-(?:ant-|proj-|or-|svcacct-)?[A-Za-z0-9_-]{16,}",  # Anthropic, OpenAI, OpenRouter
    r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",  # Amazon
    r"\bgh[pousr]_[A-Za-z0-9]{30,}",  # GitHub
    r"\bgithub_pat_[A-Za-z0-9_]{30,}",
    r"\bglpat-[A-Za-z0-9_-]{20,}",  # GitLab
    r"\bhf_[A-Za-z0-9]{30,}",  # Hugging Face
    r"\bxox[abprs]-[A-Za-z0-9-]{10,}",  # Slack
    r"\bAIza[A-Za-z0-9_-]{35}",  # Google
    r"\bpypi-[A-Za-z0-9_-]{32,}",
    r"\bnpm_[A-Za-z0-9]{36}",
    r"\beyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{5,}",  # a JSON web token
    r"(?<=://)[^\s/:@]{1,100}:[^\s/@]{1,200}(?=@)",  # a password in a URL
    r"(?i:(?<=authorization: )|(?<=x-api-key: ))(?:[Bb]earer |[Bb]asic )?[^\s'\"]{8,}",
)
_KEY = re.compile("|".join(f"(?:{shape})" for shape in _SHAPES), re.DOTALL)


def scrub(text: str) -> str:
    """The same words without what has the shape of a key, a token or a password."""
    return _KEY.sub(HIDDEN, text)
