"""What a command says where the extra that it needs is not installed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance.daemon import command


def test_without_its_extra_the_mcp_server_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = "raise ModuleNotFoundError(\"No module named 'mcp'\", name='mcp')\n"  # in front of the one that is there
    (tmp_path / "mcp.py").write_text(missing)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    refused = command(tmp_path, "mcp", check=False)
    assert refused.returncode == 2
    assert refused.stderr == "autoresearchd: mcp is not installed; `pip install 'autoresearchd[mcp]'` brings it\n"
