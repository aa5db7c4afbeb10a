"""Commands, as a user gives them, and the notebooks that they run."""

import os
import subprocess
import sys
from pathlib import Path

BIN = Path(sys.executable).parent
NOTEBOOKS = (  # in the order in which they are run
    "00_start_here",
    "01_data_curation",
    "02_rl_binary",
    "03_rl_choice",
    "04_rl_open",
    "05_rejection_sampling",
    "baseline_sft",
    "06_evaluation",
    "07_report",
)


def run(*command, cwd, **environment):
    """Run a command; return its exit status and what it printed, errors included."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        capture_output=True,
        text=True,
        env=os.environ | environment,
    )
    return done.returncode, done.stdout + done.stderr
