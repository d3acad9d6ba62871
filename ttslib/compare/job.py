"""One system of a comparison, in a process of its own: train its run, or find it, and score it.

    python -m ttslib.compare.job outputs/<lang>/compare/<name>/<system>.yaml

Writes `<system>.json` beside the params: what the scorecard does not tell.
"""

import sys
from pathlib import Path

from ttslib import checkpoint, manifest, params, pipeline, runs, scorecard
from ttslib.__main__ import expected
from ttslib.params import Params, ParamsError


def done(p: Params) -> dict:
    """The run of `p` trained and scored; its facts."""
    run = runs.Run(runs.home(p) / p.run)
    if run.trained is None:  # hours of training are not worth a voice that nobody can hear
        begun = pipeline.beginning(p, manifest.prepare(p).split("train"))
        if mute := getattr(begun, "mute", ""):
            raise ParamsError(f"it cannot be heard here: {mute}; give what it lacks, or leave it out")
    run = pipeline.trained(p)
    scorecard.make(run.folder, p)
    return facts(run) | {"scorecard": checkpoint.sha256(run.folder / "scorecard.json")}


def facts(run: runs.Run) -> dict:
    """Costs of a training by its history; `memory_gb` is the peak of the process, PyTorch and its evaluations included, or
    of the GPU's allocator."""
    rows, nets = run.rows(), pipeline.voice(run).nets
    state = checkpoint.read_json(run.checkpoints / "latest" / "state.json")
    speeds = [row["audio_s/s"] for row in rows if "audio_s/s" in row]
    return {
        "run": str(run.folder),
        "steps": rows[-1]["step"],
        "minutes": state["schedule"]["elapsed"] / 60,
        "memory_gb": max((row["memory_gb"] for row in rows if "memory_gb" in row), default=None),
        "audio_s_per_s": sorted(speeds)[len(speeds) // 2] if speeds else None,
        "parameters": sum(q.numel() for net in nets.values() for q in net.parameters()),
    }


def main(file: Path) -> int:
    try:
        checkpoint.write_json(file.with_suffix(".json"), done(params.load(file)))
    except expected() as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
