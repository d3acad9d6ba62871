"""One VITS training step, stage by stage, and against a plain implementation of the same step, in one run.

    python benchmarks/vits_step.py --threads 2 --batch 8 --frames 250 --letters 60
    python benchmarks/vits_step.py --device cuda --precision bf16 --batch 16 --no-discriminator

The plain step is the order of the public trainers (jaywalnut310/vits train.py): the discriminator hears real and generated
speech in two calls, and both again, with gradients for its own weights, in the generator's turn. Both steps have the same
networks, batch and optimizers and take turns. Medians over `--steps`. GFLOP are counted; `of the peak` is against a square
matrix product of the same precision and threads, timed between the steps. On a machine that others use the wall clock means
nothing (the same step took 6 and 10 s): `--threads 1 --cpu-seconds` does.
"""

import argparse
import statistics
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

import torch

from ttslib import alignment, dataset, losses, params
from ttslib.systems.vits import System, features
from ttslib.throughput import Flops


class Clock:
    """Seconds by stage; on a GPU every reading waits for what was queued before it."""

    def __init__(self, device: torch.device, cpu_seconds: bool = False):
        self.device, self.seconds = device, defaultdict(list)
        self.read = time.process_time if cpu_seconds else time.perf_counter

    def now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return self.read()

    @contextmanager
    def of(self, stage: str):
        began = self.now()
        yield
        self.seconds[stage].append(self.now() - began)

    def watch(self, stage: str, module: torch.nn.Module) -> None:
        """Time every forward of `module`."""
        starts = []
        module.register_forward_pre_hook(lambda *_: starts.append(self.now()))
        module.register_forward_hook(lambda *_: self.seconds[stage].append(self.now() - starts.pop()))

    def wrap(self, stage: str, owner, name: str) -> None:
        """Time every call of a function in its module."""
        plain = getattr(owner, name)

        def timed(*args, **kwargs):
            with self.of(stage):
                return plain(*args, **kwargs)

        setattr(owner, name, timed)


def ours(system: System, batch: dict, optimizers: dict, clock: Clock) -> None:
    for part, terms in zip(optimizers, system.losses(batch), strict=True):
        with clock.of(f"{part}: backward"):
            losses.total(terms).backward()
        with clock.of(f"{part}: AdamW"):
            optimizers[part].step()
            optimizers[part].zero_grad(set_to_none=True)


def plain(system: System, batch: dict, optimizers: dict) -> None:
    terms, seen = system.generator(batch)
    hears, v = system.discriminator, system.p.vits
    if hears is not None:
        real, fake = (hears(x)[0] for x in (seen["real"], seen["fake"].detach()))
        losses.least_squares_discriminator(real, fake).backward()
        optimizers["discriminator"].step()
        optimizers["discriminator"].zero_grad(set_to_none=True)
        (_, wanted), (scores, found) = hears(seen["real"]), hears(seen["fake"])
        terms["adversarial"] = losses.least_squares_generator(scores)
        terms["feature_matching"] = losses.feature_matching(wanted, found)
    losses.total({name: getattr(v, name) * value for name, value in terms.items()}).backward()
    optimizers["generator"].step()
    for optimizer in optimizers.values():
        optimizer.zero_grad(set_to_none=True)


def prepared(o: argparse.Namespace) -> tuple[System, Iterator]:
    p = params.load("default", {"system": "vits", "vits.preset": o.preset, "vits.discriminator": o.discriminator})
    rng = torch.Generator().manual_seed(0)
    text = "".join("abcdefghij"[i] for i in torch.randint(10, (o.letters,), generator=rng))
    row = SimpleNamespace(text=text, lang="en", speaker="one")
    system = System.fresh(p, [row])
    clips = [0.1 * torch.randn(o.frames * system.generator.hop, generator=rng) for _ in range(o.batch)]
    ram = {i: system.encode(row, wav) for i, wav in enumerate(clips)}
    features = dataset.Features([*map(str, ram)], [], [o.frames] * o.batch, ram=ram)
    stream = dataset.Stream(features.lengths, o.frames * o.batch, seed=0)
    return system, dataset.loader(features, stream, workers=0, pin=o.device == "cuda")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--preset", default="base")
    options.add_argument("--batch", type=int, default=8, help="clips")
    options.add_argument("--frames", type=int, default=250, help="spectrogram frames of each clip (250 = 4 s)")
    options.add_argument("--letters", type=int, default=60, help="letters of each clip; with blanks twice as many ids")
    options.add_argument("--steps", type=int, default=5)
    options.add_argument("--threads", type=int, default=1)
    options.add_argument("--square", type=int, default=2048, help="size of the matrices that stand for the peak")
    options.add_argument("--device", default="cpu")
    options.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    options.add_argument("--plain-precision", choices=["fp32", "bf16"], help="of the plain step, if another")
    options.add_argument("--discriminator", action=argparse.BooleanOptionalAction, default=True)
    options.add_argument(
        "--cpu-seconds", action="store_true", help="of this process, not the wall's: for a busy machine"
    )
    o = options.parse_args()
    torch.set_num_threads(o.threads)
    device = torch.device(o.device)
    system, batches = prepared(o)
    batch, clock = dataset.to_device(next(batches)[2], device), Clock(device, o.cpu_seconds)
    for module in system.nets.values():
        module.to(device).train()
    optimizers = {
        part: torch.optim.AdamW(qs, lr=2e-5, fused=device.type in ("cpu", "cuda"))
        for part, qs in system.parts().items()
    }
    half = torch.autocast(device.type, torch.bfloat16, enabled=o.precision == "bf16")
    other = torch.autocast(device.type, torch.bfloat16, enabled=(o.plain_precision or o.precision) == "bf16")
    whole: dict[str, list[float]] = {"ours": [], "plain": [], "matrix product": []}
    square = torch.randn(o.square, o.square, device=device)
    turns = {
        "ours": lambda: ours(system, batch, optimizers, Clock(device)),
        "plain": lambda: plain(system, batch, optimizers),
        "matrix product": lambda: square @ square,
    }
    gflop = {}
    for step in range(o.steps + 1):
        for name, turn in turns.items():
            with Flops() if not step else nullcontext() as counted, other if name == "plain" else half:
                before = clock.now()
                turn()
                spent = clock.now() - before
            if step:  # the first warms caches
                whole[name].append(spent)
            else:
                gflop[name] = counted.total / 1e9
    seconds = {name: statistics.median(found) for name, found in whole.items()}
    peak = gflop["matrix product"] / seconds.pop("matrix product")
    millions = {n: sum(q.numel() for q in m.parameters()) / 1e6 for n, m in system.nets.items()}
    networks = ", ".join(f"{n} {m:.2f} M" for n, m in millions.items())
    ids = batch["text"].shape[1]
    plainly = f" (plain: {o.plain_precision})" if o.plain_precision else ""
    print(f"{o.device} {o.precision}{plainly}, {o.threads} threads, {o.batch} clips of {o.frames} frames, {ids} ids")
    print(networks)
    for name, s in seconds.items():
        rate = gflop[name] / s
        print(f"{name:6} {s:8.3f} s a step  {o.batch / s:8.2f} samples/s  x{seconds['plain'] / s:.2f}")
        print(f"{'':6} {gflop[name] / o.batch:8.1f} GFLOP a sample, {rate:.0f} GFLOP/s, {rate / peak:.0%} of the peak")

    vits = system.generator.vits
    for stage, module in {
        "text encoder": vits.text_encoder, "posterior encoder": vits.posterior_encoder, "flow": vits.flow,
        "decoder": vits.decoder, "discriminator: forward": system.discriminator,
    }.items():  # fmt: skip
        if module is not None:
            clock.watch(stage, module)
    clock.wrap("alignment search", alignment, "monotonic")
    clock.wrap("durations", system.generator, "duration")
    clock.wrap("spectrum and mel", features, "spectrogram")
    total = []
    for _ in range(o.steps):
        before = clock.now()
        with clock.of("loader"):
            batch = dataset.to_device(next(batches)[2], device)
        with half:
            ours(system, batch, optimizers, clock)
        total.append(clock.now() - before)
    print(f"\n{'stage':26} {'s a step':>9} {'share':>7}")
    each = {stage: sum(found) / o.steps for stage, found in clock.seconds.items()}
    mean = sum(total) / o.steps
    each["rest"] = mean - sum(each.values())
    for stage, s in sorted(each.items(), key=lambda item: -item[1]):
        print(f"{stage:26} {s:9.4f} {s / mean:7.1%}")


if __name__ == "__main__":
    main()
