"""What the loop stands on: the Accelerate engine, optimizers, validation, and the run's state in and out of checkpoints."""

import json
import math
import os
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.state import AcceleratorState
from torch import Tensor, nn

from ttslib import adapt, checkpoint, processes, provenance, sharding, units
from ttslib.dataset import ORDER, Features, Position, collate, plan, to_device
from ttslib.ema import Ema
from ttslib.evaluate.choice import Verdict
from ttslib.params import Params, ParamsError
from ttslib.runs import Run
from ttslib.schedule import Schedule
from ttslib.writing import Writer


def engine(p: Params) -> Accelerator:
    """Accelerate, set up for `p.device`, `p.precision` and this process's share of the cores."""
    if p.device == "cuda" and not torch.cuda.is_available():
        raise ParamsError("device: cuda was asked for and PyTorch sees none; use device=auto or device=cpu")
    if p.device == "mps" and not torch.backends.mps.is_available():
        raise ParamsError("device: mps was asked for and PyTorch sees none; use device=auto or device=cpu")
    if os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true":
        raise ParamsError("accelerate launch was asked for FSDP; leave that out there and set sharding=full")
    launched = "WORLD_SIZE" in os.environ
    AcceleratorState._reset_state(reset_partial_state=not launched)  # a notebook may train twice, with other settings
    if launched:
        processes.launched(p.device)
        sharding.forget()
    precision = "no" if arithmetic(p) == "fp32" else arithmetic(p)
    quiet = DistributedDataParallelKwargs(broadcast_buffers=False)  # validation shards may differ in length
    made = Accelerator(mixed_precision=precision, cpu=processes.on_cpu(p.device), kwargs_handlers=[quiet])
    torch.set_num_threads(p.threads or processes.cores())
    return made


def arithmetic(p: Params) -> str:
    """What `precision` comes to on this machine: fp32, bf16 or fp16."""
    if p.precision != "auto":
        return p.precision
    gpu = p.device in ("auto", "cuda") and torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    return "bf16" if gpu else "fp32"


def adamw(
    params: Iterable[nn.Parameter], p: Params, device: torch.device, new: Iterable[nn.Parameter] = (),
    factors: Mapping[nn.Parameter, float] | None = None, undecayed: Iterable[nn.Parameter] = (),
) -> torch.optim.AdamW:  # fmt: skip
    """AdamW that decays matrices only: biases, norms, other vectors, the `new` rows of tables and the matrices that are
    `undecayed` are left alone.

    A group's rate is `factor` times the schedule's (`factors` where they are not 1), and zero before step `begins`: new
    rows run ahead of the rest.
    """
    ids, begins = {id(q) for q in new}, p.adapt.rows_first if p.adapt.base else 0
    of, spared = {id(q): factor for q, factor in (factors or {}).items()}, {id(q) for q in undecayed}
    rows = [q for q in params if id(q) in ids]
    rest = [q for q in params if id(q) not in ids]
    groups = []
    for factor in sorted({of.get(id(q), 1.0) for q in rest}):
        alike = [q for q in rest if of.get(id(q), 1.0) == factor]
        matrices = [q for q in alike if q.ndim > 1 and id(q) not in spared]
        others = [q for q in alike if q.ndim <= 1 or id(q) in spared]
        common = {"factor": factor, "begins": begins}
        groups.append({"params": matrices, "weight_decay": p.train.weight_decay, **common})
        groups.append({"params": others, "weight_decay": 0.0, **common})
    groups.append({"params": rows, "weight_decay": 0.0, "factor": p.adapt.rows_lr, "begins": 0})
    groups = [group for group in groups if group["params"]]
    return torch.optim.AdamW(groups, lr=p.train.lr, betas=p.train.betas, fused=device.type in ("cpu", "cuda"))


def prepared(
    system, nets: Mapping[str, nn.Module], optimizers: Mapping[str, torch.optim.Optimizer], ema: Ema, p: Params,
    engine: Accelerator,
) -> tuple[dict, dict, dict]:  # fmt: skip
    """`(nets, parts, optimizers)` for all processes, each of which has all weights or, of `sharding=full`, its share."""
    if p.sharding == "full" and engine.num_processes > 1:  # the checks before a run are made in one process
        made = sharding.shard(system, nets, optimizers, ema, engine)
    else:
        made = engine.prepare(*nets.values(), *optimizers.values())
    return dict(zip(nets, made, strict=False)), system.parts(), dict(zip(optimizers, made[len(nets) :], strict=True))


def set_rates(optimizers: Mapping[str, torch.optim.Optimizer], rate: float, step: int) -> None:
    """Every group's learning rate for this step: what does not learn yet stands still, weight decay included."""
    for optimizer in optimizers.values():
        for group in optimizer.param_groups:
            group["lr"] = rate * group["factor"] if step >= group["begins"] else 0.0


@dataclass
class Progress:
    """Where a run stands; all of it is stored in every checkpoint."""

    step: int = 0
    position: Position = Position()
    best: list[float] = field(default_factory=list)
    """what was told of the best evaluation so far, see `judge`"""
    judge_was: str | None = None
    """who listened to it"""
    stale: int = 0
    """evaluations since the best one"""
    evaluated: int = -1
    """step of the last evaluation"""
    skips: int = 0
    """steps skipped in a row for a non-finite loss or gradient"""
    halved: bool = False
    """every micro-batch is taken in two halves, because memory did not suffice"""
    window: dict[str, list[float]] = field(default_factory=dict)
    """loss terms and gradient norms since the last history row"""
    before: dict[str, float] = field(default_factory=dict)
    """validation loss of each guarded language before the first step"""
    rise: dict[str, float] = field(default_factory=dict)
    """by how much it was above that at the last evaluation"""

    def judge(self, loss: float, heard: Verdict | None = None, choose: str = "speech") -> None:
        """Is it better than the best before it: by what was heard, then by the validation loss? Another listener than before
        begins anew."""
        heard = heard if choose == "speech" else None
        told, who = [*(heard.key if heard else ()), loss], heard and heard.judge
        if self.best and who != self.judge_was:
            print(
                f"step {self.step}: {who} judges now, {self.judge_was} did before; `best` is chosen anew",
                file=sys.stderr,
            )
            self.best = []
        better = all(map(math.isfinite, told)) and (not self.best or told < self.best)
        if better or choose == "last":
            self.best, self.judge_was, self.stale = told, who, 0
        else:
            self.stale += 1
        self.evaluated = self.step

    @property
    def is_best(self) -> bool:
        """These very weights are the best so far, or the last ones where those are chosen."""
        return self.stale == 0 and self.evaluated == self.step

    def note(self, values: dict[str, float]) -> None:
        for name, value in values.items():
            self.window.setdefault(name, []).append(value)


def row(now: Progress, system, engine: Accelerator) -> dict[str, float]:
    """The history row of the steps since the last one: mean loss terms and gradient norms, speeds over all processes."""
    sums = {name: sum(values) for name, values in now.window.items()}
    means = {name: sums[name] / len(values) for name, values in now.window.items()}
    now.window.clear()
    per_second = {name: sums[name] * engine.num_processes / sums["seconds"] for name in ("frames", "clips")}
    speeds = {"clips/s": per_second["clips"], "audio_s/s": per_second["frames"] * system.frame_seconds}
    rest = {"step_s": means["seconds"], "memory_gb": memory(engine.device)}
    return {k: v for k, v in means.items() if k not in ("frames", "clips", "seconds")} | speeds | rest


@torch.no_grad()
def validate(system, val: Features, p: Params, engine: Accelerator) -> dict[str, float]:
    """Mean of every loss term over the validation clips: the same `losses`, dropout off, spread over the processes."""
    for net in system.nets.values():
        net.eval()
    sums: dict[str, Tensor] = {}
    batches = plan(val.lengths, p.data.frames, p.seed, 0)
    for indices in batches[engine.process_index :: engine.num_processes]:
        batch = to_device(collate([val[i] for i in indices]), engine.device)
        for terms in system.losses(batch):
            for name, value in (terms | {"": torch.ones((), device=engine.device)}).items():
                sums[name] = sums.get(name, 0) + value.detach().double() * len(indices)
    for net in system.nets.values():
        net.train()
    names = sorted({n for part in gather([*sums], engine) for n in part})
    totals = torch.stack([sums.get(n, torch.zeros((), dtype=torch.double, device=engine.device)) for n in names])
    means = dict(zip(names, engine.reduce(totals, "sum").tolist(), strict=True))
    clips = means.pop("") / len(system.parts())
    return {name: value / clips for name, value in means.items()}


def gather(value, engine: Accelerator) -> list:
    """The value of every process."""
    if engine.num_processes == 1:
        return [value]
    from accelerate.utils import gather_object

    return gather_object([value])


def agreed(value, engine: Accelerator):
    """The main process's value, on every process."""
    return gather(value, engine)[0]


def any_of(value, engine: Accelerator):
    """The first process's value that is not None, on every process: a signal may reach one alone."""
    return next((one for one in gather(value, engine) if one is not None), None)


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


def memory(device: torch.device) -> float:
    """Peak memory (GB): of the GPU's allocator, else of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    status = Path("/proc/self/status")  # getrusage's peak has that of the process that started this one in it (Linux)
    if status.is_file() and (peak := re.search(r"VmHWM:\s+(\d+) kB", status.read_text())):
        return int(peak[1]) / 2**20
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
