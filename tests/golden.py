"""The golden curves: what each tiny system's losses are, ten steps at a time, and on which machine they were.

PYTHONPATH=. python tests/golden.py --write [system ...]     after a change that is meant to move them
"""

import argparse
import json
import os
import tempfile
from pathlib import Path

import torch

from ttslib import manifest, params, pipeline, provenance

FOLDER = Path(__file__).parent / "golden"
QUIET = ["tracking=disabled", "device=cpu", "precision=fp32", "threads=1", "evaluate.recogniser=null"]
QUIET += ["evaluate.small=1", "train.log_every=10", "train.evaluate_every=1000", "train.checkpoint_every=1000"]
STYLE = ["style.preset=unit", "pairs.voices=20", "pairs.texts=1", "style.longest=2.0", "style.augment=0.5"]
STYLE += ["train.epochs=null", "train.warmup_epochs=null"]
# 100 steps of what takes 0.1 s a step and less; VITS takes half a second, the style encoder's corpus is its own.
CURVES = {
    "acoustic": ("qaa", 100, ["data.frames=400"]),
    "vits": ("qaa", 20, ["data.frames=100", "vits.ramp=10"]),
    "t3": ("qaa", 100, ["data.frames=200"]),
    "indextts": ("qaa", 50, ["data.frames=200"]),
    "pocket": ("qaa", 100, ["data.frames=100", "pocket.distill_share=0.5"]),
    "style": ("style_fast", 50, ["data.frames=400", *STYLE]),
}
NOT_A_LOSS = ("step", "epoch", "last_step", "lr", "eta_s", "epoch_eta_s", "elapsed_s", "clips/s", "audio_s/s", "step_s")


def here() -> dict[str, str]:
    """What decides the last bits: the instructions that kernels were chosen for, torch, and the processor."""
    cpu = torch.backends.cpu.get_cpu_capability()
    return {"capability": cpu, "torch": torch.__version__, "processor": provenance.processor()}


def settings(system: str) -> params.Params:
    lang, steps, few = CURVES[system]
    return params.load(lang, [*QUIET, f"train.steps={steps}", *few], system=system, run=f"golden-{system}")


def corpus(system: str) -> str:
    """The digest of the manifest that the system learns from, which is made where it is missing."""
    return manifest.prepare(settings(system)).digest


def curve(system: str) -> list[dict[str, float]]:
    """Mean loss terms of every ten steps, computed now, as rows with their `step`."""
    rows = [row for row in pipeline.train(settings(system)).run.rows() if "lr" in row]
    return [{"step": row["step"]} | {k: v for k, v in row.items() if is_loss(k)} for row in rows]


def is_loss(name: str) -> bool:
    return name not in (*NOT_A_LOSS, "memory_gb") and not name.startswith("grad_norm/")


def stored(system: str) -> dict:
    return json.loads((FOLDER / f"{system}.json").read_text(encoding="utf-8"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", nargs="*", choices=CURVES, metavar="system", help="write these curves (all)")
    parser.add_argument(
        "--compare", nargs="*", choices=CURVES, metavar="system", help="how far these are off here (all)"
    )
    asked = parser.parse_args()
    torch.set_num_threads(1)
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as outputs:
        os.environ["TTSLIB_OUTPUTS"] = outputs
        for system in asked.write if asked.write else CURVES if asked.write is not None else ():
            made = here() | {"corpus": corpus(system), "curve": curve(system)}
            (FOLDER / f"{system}.json").write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
        for system in asked.compare if asked.compare else CURVES if asked.compare is not None else ():
            golden, digest = stored(system), corpus(system)
            by = ", ".join(f"{name} {value:.1e}" for name, value in off(golden["curve"], curve(system)).items())
            print(
                f"{system}: off by {by}; corpus {'same' if digest == golden['corpus'] else 'differs'}; {here()}",
                flush=True,
            )


def off(golden: list[dict[str, float]], now: list[dict[str, float]]) -> dict[str, float]:
    """The largest relative difference of each term at any step."""
    if (were := [row.keys() for row in golden]) != (are := [row.keys() for row in now]):
        raise ValueError(f"other terms or steps than the golden ones: {were} are now {are}")
    by: dict[str, float] = {}
    for a, b in zip(golden, now, strict=True):
        by |= {k: max(by.get(k, 0.0), abs(a[k] - b[k]) / max(abs(a[k]), 1e-12)) for k in a if k != "step"}
    return by


if __name__ == "__main__":
    main()
