"""Where things live: everything is anchored on the package, never on the working directory.

A notebook's kernel starts in a different folder under papermill (the caller's) and JupyterLab (the notebook's).
"""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PARAMS = ROOT / "params"


def outputs() -> Path:
    """The folder for everything a run writes: `$TTSLIB_OUTPUTS`, else `outputs/` beside the package."""
    return Path(os.environ.get("TTSLIB_OUTPUTS", ROOT / "outputs")).resolve()
