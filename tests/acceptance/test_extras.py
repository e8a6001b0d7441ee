"""What a command says where the extra that it needs is not installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.acceptance.daemon import environment


def test_without_its_extra_the_mcp_server_says_how_to_get_it(tmp_path: Path) -> None:
    missing = "raise ModuleNotFoundError(\"No module named 'mcp'\", name='mcp')\n"  # in front of the one that is there
    (tmp_path / "mcp.py").write_text(missing)
    words, variables = [sys.executable, "-m", "autoresearchd", "mcp"], {**environment(), "PYTHONPATH": str(tmp_path)}
    refused = subprocess.run(words, cwd=tmp_path, env=variables, capture_output=True, text=True)
    assert refused.returncode == 2
    assert refused.stderr == "autoresearchd: mcp is not installed; `pip install mcp` brings it\n"
