"""Where the repository's own files are, whatever folder a test is in."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
