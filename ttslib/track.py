"""One run object with `.log`: a local history always, Weights & Biases beside it (online, offline or disabled)."""

import io
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

from ttslib import checkpoint
from ttslib.params import Params
from ttslib.runs import Run

FIRST, LAST = 10.0, 60.0  # seconds that W&B may take to begin, and to send the rest: training and its end wait for it


class Track:
    """`history.jsonl` (one row per log call, flushed) and `training_history.json` (all rows), mirrored to W&B.

    `watch(rows)` is called with the whole history after every row: a notebook redraws its one display, a terminal prints.
    With `main=False` (the other processes of a distributed run) nothing is written anywhere.
    """

    def __init__(self, p: Params, run: Run, watch: Callable[[list[dict]], None] | None = None, main: bool = True):
        self.run, self.watch, self.main = run, watch, main
        self.rows: list[dict] = []
        self.wandb = None
        if main:
            run.folder.mkdir(parents=True, exist_ok=True)
            self.wandb = connect(p, run)

    def resume_at(self, step: int) -> None:
        """Keep the rows up to `step` and drop later ones: they belong to steps that will be trained again."""
        if self.main and self.run.history.exists():
            lines = self.run.history.read_text(encoding="utf-8").splitlines()
            self.rows = [row for row in map(parse, lines) if row is not None and row["step"] <= step]
        self.write()

    def log(self, row: dict, step: int) -> None:
        """Append one row of plain numbers and texts at `step`."""
        if not self.main:
            return
        row = {"step": step, **row}
        self.rows.append(row)
        with self.run.history.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
        if self.wandb:
            self.wandb.log(row, step=step)
        if self.watch:
            self.watch(self.rows)

    def listen(self, name: str, file: Path, caption: str, picture: bytes, step: int) -> None:
        """A spoken sentence: its audio file and a PNG of its mel."""
        if self.main and self.wandb:
            import PIL.Image
            import wandb

            image = wandb.Image(PIL.Image.open(io.BytesIO(picture)))
            self.wandb.log({f"audio/{name}": wandb.Audio(str(file), caption=caption), f"mel/{name}": image}, step=step)

    def write(self) -> None:
        if self.main:
            partial = self.run.history.with_suffix(".partial")
            with partial.open("w", encoding="utf-8") as file:
                file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in self.rows)
            os.replace(partial, self.run.history)

    def finish(self) -> None:
        if self.main:
            checkpoint.write_json(self.run.folder / "training_history.json", self.rows)
        if self.wandb:
            self.wandb.finish()
            self.wandb = None


def parse(line: str) -> dict | None:
    """A history row, or None for the half-written last line a kill may leave."""
    try:
        return json.loads(line)
    except ValueError:
        return None


def mode(p: Params) -> str:
    """What tracking will do: `online` without a key becomes `offline`, said once; there is never a login prompt."""
    if p.tracking == "online" and not os.environ.get("WANDB_API_KEY"):
        print(
            "tracking=online but WANDB_API_KEY is not set: tracking offline; later: wandb sync <run>/wandb",
            file=sys.stderr,
        )
        return "offline"
    return p.tracking


def connect(p: Params, run: Run):
    chosen = mode(p)
    if chosen == "disabled":
        return None
    if chosen == "offline":
        os.environ["WANDB_ERROR_REPORTING"] = "false"  # its telemetry asks the server in this mode too
    import wandb

    settings = wandb.Settings(silent=True, console="off", init_timeout=FIRST, finish_timeout=LAST)
    options = {"project": "ttslib", "group": f"{p.lang}-{p.system}", "name": run.name, "dir": str(run.folder)}
    options |= {"config": p.model_dump(mode="json"), "settings": settings, "reinit": "create_new"}
    try:
        return wandb.init(mode=chosen, **options)
    except wandb.errors.Error as error:
        why = str(error).partition("\n")[0]
        print(f"W&B cannot be reached ({why}); tracking offline; later: wandb sync <run>/wandb", file=sys.stderr)
        return wandb.init(mode="offline", **options)
