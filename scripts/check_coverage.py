"""Checks the coverage of the last test run: all of the core, 95 % of everything else."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

LEAST = {"core": 100.0, "the rest": 95.0}


def main() -> int:
    """Print the coverage of both parts; 1 if one is too low."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "coverage.json"
        command = [sys.executable, "-m", "coverage", "json", "-q", "-o", str(report)]
        subprocess.run(command, check=True)
        files = json.loads(report.read_text())["files"]
    parts = {"core": [0, 0], "the rest": [0, 0]}
    for name, file in files.items():
        part = parts["core" if "/core/" in Path(name).as_posix() else "the rest"]
        summary = file["summary"]
        part[0] += summary["covered_lines"] + summary["covered_branches"]
        part[1] += summary["num_statements"] + summary["num_branches"]
    low = 0
    for name, (covered, total) in parts.items():
        share = 100 * covered / total
        print(f"coverage of {name}: {share:.1f} % (at least {LEAST[name]:.0f} %)")
        low += share < LEAST[name]
    return int(low > 0)


if __name__ == "__main__":
    sys.exit(main())
