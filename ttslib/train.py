"""`fit`: the only training loop. It knows nothing of which system it trains.

A step: the system's `losses(batch)` yields one dict of named terms per part, in the order of `parts()`; the loop goes
backward after each, and lets all parts learn at its end. Everything a step depends on is in the checkpoint, so that a
resumed run repeats the uninterrupted one bit for bit.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from accelerate import Accelerator

from ttslib import adapt, checkpoint, disk, forgetting, loading, progress, session, sharding
from ttslib.dataset import Features, Stream, loader, to_device
from ttslib.ema import Ema
from ttslib.params import Params
from ttslib.progress import Progress
from ttslib.resuming import Files
from ttslib.runs import Run
from ttslib.schedule import Schedule
from ttslib.step import TrainError, step
from ttslib.stop import Stop
from ttslib.track import Track


@dataclass(frozen=True)
class Result:
    """How a run ended, and the validation loss of its best checkpoint.

    `stopped` is steps, budget, patience, forgetting, SIGTERM or SIGINT.
    """

    steps: int
    stopped: str
    seconds: float
    best: float


@disk.told_when_full
@loading.told_when_lost
def fit(
    system, train: Features, val: Features, p: Params, run: Run, track: Track,
    listen: Callable | None = None, engine: Accelerator | None = None, guard: Mapping[str, Features] | None = None,
) -> Result:  # fmt: skip
    """Train until the steps, the minutes or the patience are used up, or a signal asks to end.

    Writes checkpoints and history into `run`. `listen(system, step)` is called at every evaluation on the main process,
    with the averaged weights in place; the verdict it may return chooses `best`. `guard` holds the validation clips of each
    language that must not be forgotten.
    Raises `TrainError` after more than `train.max_skips` steps in a row without a finite gradient, `CheckpointError` when
    `p.resume` meets a checkpoint of other data, units or network, `DiskError` when nothing more can be written.
    """
    schedule, engine, guard = Schedule(p.train, p.minutes), engine or session.engine(p), guard or {}
    for net in system.nets.values():
        net.to(engine.device).train()
    raw, parts = dict(system.nets), system.parts()
    new = [q for net in raw.values() for q in adapt.new_rows(net)]
    groups = (new, system.factors(), list(getattr(system, "undecayed", list)()))
    optimizers = {name: session.adamw(params, p, engine.device, *groups) for name, params in parts.items()}
    ema, now = Ema(raw, p.train.ema), Progress()
    files = Files(run, system, optimizers, ema, engine, p, train, guard)
    torch.manual_seed(p.seed + engine.process_index)
    if p.resume:
        now = files.restore(schedule)
        track.resume_at(now.step)
    else:
        files.begin()
        track.write()  # an empty history: a start that was killed before its first checkpoint leaves rows behind
    system.nets, parts, optimizers = session.prepared(system, raw, optimizers, ema, p, engine)
    place = (now.position, engine.process_index, engine.num_processes)
    where = (train.shards, p.data.window)
    stream = Stream(train.lengths, p.data.frames, p.seed, *place, train.replayed, p.replayed, *where)
    batches = loader(train, stream, p.data.workers, pin=engine.device.type == "cuda")

    def evaluate_and_save() -> None:
        began = time.monotonic()
        with ema.swapped(), sharding.unsharded(raw), checkpoint.own_rng(p.seed):
            terms = session.validate(system, val, p, engine)
            score = system.verdict(terms)
            heard = session.agreed(listen(system, now.step) if listen and engine.is_main_process else None, engine)
            now.judge(score, heard, p.train.choose)
            row = {f"val/{k}": v for k, v in terms.items()} | {"val/total": score} | (heard.row() if heard else {})
            track.log(row | forgetting.watch(system, guard, now, p, engine), now.step)
        files.save(now, schedule)
        schedule.paused(time.monotonic() - began)

    stopped = None
    with Stop() as stop, files.writer as writer:
        if now.evaluated < 0:  # verify settings: what would break in an hour breaks now
            evaluate_and_save()
            files.settle()
            checkpoint.load(run.checkpoints / "latest")
        while not (stopped := session.any_of(why_stop(stop, schedule, now, p), engine)):
            writer.check()
            began, epoch = time.monotonic(), now.position.epoch
            micros, ids, frames = [], [], 0
            for now.position, indices, batch in (next(batches) for _ in range(p.data.accumulate)):
                micros.append(to_device(batch, engine.device))
                ids += [train.ids[i] for i in indices]
                frames += sum(train.lengths[i] for i in indices)
            rate = schedule.lr(now.step)
            session.set_rates(optimizers, rate, now.step)
            if values := step(system, parts, optimizers, micros, p, engine, now):
                ema.update(now.step)
                now.skips = 0
                now.note(values)
            else:
                now.skips += 1
                ids = [clip for some in session.gather(ids, engine) for clip in some]
                track.log({"skipped": now.skips, "clips": ids}, now.step + 1)
                if now.skips > p.train.max_skips:
                    raise TrainError(
                        f"step {now.step}: {now.skips} steps in a row without a finite loss and gradient; the last clips "
                        f"were {', '.join(ids)}. {(run.checkpoints / 'latest').resolve()} is the last good checkpoint; "
                        "lower train.lr or hear those clips."
                    )
            now.step += 1
            schedule.stepped(time.monotonic() - began)
            now.note({"frames": frames, "clips": len(ids), "seconds": time.monotonic() - began})
            if now.step % p.train.log_every == 0:
                schedule.refit(now.step)
                schedule.end = session.agreed(schedule.end, engine)
                left = stream.left(now.position) / (p.data.accumulate * engine.num_processes)
                track.log(progress.row(now, system, engine) | {"lr": rate} | schedule.state(now, left), now.step)
            if now.step % p.train.evaluate_every == 0 or (p.train.each_epoch and now.position.epoch > epoch):
                evaluate_and_save()
            elif now.step % p.train.checkpoint_every == 0:
                files.save(now, schedule)
        if stopped in ("SIGTERM", "SIGINT"):  # what all processes agreed on: a signal may reach one alone
            files.save(now, schedule)
        elif now.evaluated != now.step:
            evaluate_and_save()
    track.finish()
    system.nets = raw
    for net in raw.values():
        net.eval()
    return Result(now.step, stopped, schedule.seconds, now.best[-1] if now.best else float("inf"))


def why_stop(stop: Stop, schedule: Schedule, now: Progress, p: Params) -> str | None:
    if stop.asked:
        return stop.asked
    if p.replay.tripwire == "stop" and forgetting.tripped(now, p):
        return "forgetting"
    if schedule.over(now.step):
        return "steps" if p.minutes is None else "budget"
    return "patience" if p.train.patience and now.stale >= p.train.patience else None
