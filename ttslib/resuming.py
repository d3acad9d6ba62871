"""The run's state in and out of checkpoints, and what must be the same for a resumed run to be the same run."""

import json
import math
import sys
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial

import numpy as np
from accelerate import Accelerator
from torch import Tensor

from ttslib import adapt, checkpoint, provenance, sharding, units
from ttslib.dataset import ORDER, Features, Position
from ttslib.ema import Ema
from ttslib.params import Params
from ttslib.progress import Progress
from ttslib.runs import Run
from ttslib.schedule import Schedule
from ttslib.session import arithmetic, gather
from ttslib.writing import Writer


def fingerprint(system, p: Params, engine: Accelerator, guard: Mapping[str, Features]) -> dict:
    """What must be the same for a resumed run to be the same run."""
    reads = {k: v for k, v in system.tokenizer.state().items() if k not in ("symbols", "data")}
    keep = {"system": p.system, "tokenizer": reads | {"sha256": system.tokenizer.digest}}
    keep |= {"vocabularies": {name: list(names) for name, names in system.vocabularies.items()}}
    if codec := getattr(system, "codec_state", None):
        keep |= {"codec": {name: codec[name] for name in ("name", "hash")}}
    keep |= {"seed": p.seed, "precision": arithmetic(p)}
    keep |= {"data.frames": p.data.frames, "data.accumulate": p.data.accumulate, "processes": engine.num_processes}
    keep |= {"order of the clips": ORDER}
    if system.adaptation:  # what was started from, and which rows could learn
        keep |= {"base": system.adaptation["base"], "adapt": p.adapt.model_dump(mode="json", exclude={"base"})}
    watched = {lang: clips.digest for lang, clips in guard.items()}
    keep["replay"] = p.replay.lang and {"lang": p.replay.lang, "ratio": p.replay.ratio, "validation clips": watched}
    keep["refine"] = p.refine.model_dump(mode="json") if p.feedback else None
    return keep | {p.system: getattr(p, p.system).model_dump(mode="json")}


class Files:
    """The run's checkpoints: gathers what a step depends on, and puts it back."""

    def __init__(
        self, run: Run, system, optimizers: dict, ema: Ema, engine: Accelerator, p: Params, train: Features,
        guard: Mapping[str, Features],
    ):  # fmt: skip
        self.run, self.system, self.optimizers, self.ema, self.engine, self.p = run, system, optimizers, ema, engine, p
        self.nets = dict(system.nets)
        self.clips = dict(zip(train.ids, [file.stem for file in train.files], strict=True))
        self.fingerprint = fingerprint(system, p, engine, guard)
        self.fingerprint["shards"] = train.layout and {"index": train.layout, "data.window": p.data.window}
        behind = p.train.write_behind
        self.writer = Writer(engine.device.type != "cpu" if behind is None else behind)

    def begin(self) -> None:
        """Write what describes a new run: resolved params, clips, versions."""
        if self.engine.is_main_process:
            self.run.folder.mkdir(parents=True, exist_ok=True)
            (self.run.folder / "params.yaml").write_text(str(self.p), encoding="utf-8")
            checkpoint.write_json(self.run.folder / "clips.json", self.clips)
            checkpoint.write_json(self.run.folder / "provenance.json", provenance.describe())

    def save(self, now: Progress, schedule: Schedule) -> str:
        """Write the checkpoint of this step; `best` follows when it was evaluated just now and is the best."""
        name = f"epoch{now.position.epoch}_step{now.step}"
        rng, main = gather(checkpoint.rng_state(), self.engine), self.engine.is_main_process
        optimizers = {part: sharding.state_of(optimizer, main) for part, optimizer in self.optimizers.items()}
        live = sharding.whole(self.ema.live if self.ema.decay else {}, main)
        with self.ema.swapped(), sharding.unsharded(self.nets):
            weights = {n: adapt.weights(net) for n, net in self.nets.items()} if main else {}
            weights = {f"{n}.{k}": v.detach().clone() for n, own in weights.items() for k, v in own.items()}
        if main:
            state = {
                "progress": asdict(now),
                "schedule": {"end": schedule.end, "elapsed": schedule.seconds},
                "optimizers": optimizers,
                "weights": live,
                "scaler": self.engine.scaler.state_dict() if self.engine.scaler else {},
                "rng": rng,
                "fingerprint": self.fingerprint,
                "provenance": provenance.describe(),
            }
            told = weights, self.system.state(), state
            told = checkpoint.snapshot(told) if self.writer.behind else told
            self.writer.do(partial(self.write, name, now.is_best, *told))
        self.engine.wait_for_everyone()
        return name

    def write(self, name: str, is_best: bool, weights: dict[str, Tensor], system: dict, state: dict) -> None:
        folder = self.run.checkpoints
        checkpoint.save(folder, name, weights, system, state, self.system.vocabularies)
        if is_best:
            checkpoint.link(folder, "best", name)
        checkpoint.prune(folder, self.p.train.keep)

    def settle(self) -> None:
        """Until the last checkpoint is on the disk, for every process."""
        self.writer.wait()
        self.engine.wait_for_everyone()

    def restore(self, schedule: Schedule) -> Progress:
        """Put back the newest whole checkpoint; raise `CheckpointError` naming what differs from this run."""
        with self.engine.main_process_first():
            path = checkpoint.newest(self.run.checkpoints)
        weights, _, state = checkpoint.load(path)
        self.compare(state["fingerprint"], path)
        for name, net in self.nets.items():
            own = {k.removeprefix(f"{name}."): v for k, v in weights.items() if k.startswith(f"{name}.")}
            adapt.load(net, own)
        if self.ema.decay:
            for name, value in self.ema.average.items():
                value.copy_(self.ema.live[name].detach())
            self.ema.copy(state["weights"])
        for part, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][part])
        if self.engine.scaler:
            self.engine.scaler.load_state_dict(state["scaler"])
        schedule.elapsed = state["schedule"]["elapsed"]
        if schedule.minutes is not None:
            schedule.end = state["schedule"]["end"]
        progress = state["progress"]
        now = Progress(**{**progress, "position": Position(**progress["position"])})
        self.draw_on(state["rng"], now.step)
        if now.is_best and self.engine.is_main_process:  # a kill may have come between `latest` and `best`
            checkpoint.link(self.run.checkpoints, "best", path.name)
        return now

    def draw_on(self, kept: list[dict], step: int) -> None:
        """Put back the random generators of each process; of another number of processes than before, with new ones: those
        of the seed, the step and the process."""
        rank, count = self.engine.process_index, self.engine.num_processes
        if len(kept) == count:
            checkpoint.set_rng_state(kept[rank])
            return
        checkpoint.seeded(int(np.random.SeedSequence([self.p.seed, step, rank]).generate_state(1, np.uint64)[0]))
        if self.engine.is_main_process:
            print(
                f"step {step}: {len(kept)} processes before, {count} now: the steps take the same clips; random numbers "
                "(dropout, noise, prompts) are drawn anew",
                file=sys.stderr,
            )

    def compare(self, before: dict, path) -> None:
        """Refuse to resume on other data, units or network, naming each difference."""
        now = json.loads(json.dumps(self.fingerprint))  # as it was stored: tuples are lists there
        differences = [
            f"{key}: {different(before.get(key), value)}"
            for key, value in now.items()
            if before.get(key) != value and key not in SHARED
        ]
        differences += other_share(before, now)
        clips = json.loads((self.run.folder / "clips.json").read_text(encoding="utf-8"))
        for what, ids in (
            ("new", self.clips.keys() - clips.keys()),
            ("gone", clips.keys() - self.clips.keys()),
            ("changed", {i for i in clips.keys() & self.clips.keys() if clips[i] != self.clips[i]}),
        ):
            if ids:
                differences.append(
                    f"training clips {what}: {len(ids)} ({', '.join(sorted(ids)[:5])}{', ...' * (len(ids) > 5)})"
                )
        if differences:
            raise checkpoint.CheckpointError(
                f"{path} cannot be resumed, it belongs to other settings:\n  " + "\n  ".join(differences)
                + "\nStart a new run instead, or restore what changed."
            )  # fmt: skip


SHARED = ("data.accumulate", "processes")  # a step takes accumulate x processes micro-batches, whoever takes which


def other_share(before: Mapping, now: Mapping) -> list[str]:
    """What to change when a step would take other micro-batches than those of the checkpoint; nothing when it would not."""
    was, here = (math.prod(told.get(name, 1) for name in SHARED) for told in (before, now))
    if was == here:
        return []
    cure = f"set data.accumulate={was // now['processes']}"
    if was % now["processes"]:
        cure = f"train in a number of processes that divides {was}, and set data.accumulate to the quotient"
    told = [
        f"{' x '.join(str(some.get(name, 1)) for name in SHARED)} = {count}"
        for some, count in ((before, was), (now, here))
    ]
    return [
        f"data.accumulate x processes: the checkpoint has {told[0]} micro-batches a step, this run {told[1]}; {cure}"
    ]


def different(before, now) -> str:
    """Two values of a fingerprint in words; of vocabularies, what is missing, unknown or moved."""
    if isinstance(before, dict) and isinstance(now, dict):
        keys = [k for k in sorted(before.keys() | now.keys()) if before.get(k) != now.get(k)]
        return "; ".join(f"{k}: {different(before.get(k), now.get(k))}" for k in keys)
    if isinstance(before, list) and isinstance(now, list) and all(isinstance(x, str) for x in before + now):
        return units.difference(before, now)
    return f"the checkpoint has {short(before)}, this run {short(now)}"


def short(value) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 120 else f"{text[:117]}..."
