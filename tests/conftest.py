"""Shared pytest set-up: the tests folder itself is importable (fixtures_path, random_programs)."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
