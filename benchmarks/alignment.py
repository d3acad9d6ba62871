"""Alignment search against the packages that people use, in one run on one machine.

    pip install monotonic-alignment-search monotonic-align numba    # none of them a dependency of the project
    python benchmarks/alignment.py [--device cuda] [--threads 1]

Every search starts from a likelihood `(batch, frames, tokens)` on the device and ends with durations or a path there, as
in a training step. A row is left out, and said to be, where its package is not installed. `agree` is the share of items
whose durations are ours; the packages sum in float32, where nearly equal paths can change places.
"""

import argparse
import importlib
import time

import numpy as np
import torch

from ttslib import alignment

SIZES = ((8, 250, 121), (16, 400, 201), (32, 800, 301), (32, 1000, 501))
PASSES = 7


def mask_of(score, frames, tokens):
    heard = torch.arange(score.shape[1], device=score.device) < frames[:, None]
    return (heard[:, :, None] & (torch.arange(score.shape[2], device=score.device) < tokens[:, None])[:, None]).float()


def ours(score, frames, tokens):
    return alignment.monotonic(score, frames, tokens)


def by_torch(score, frames, tokens):
    return alignment.searched_by_torch(score, frames, tokens)


def coqui(implementation):
    """The package monotonic-alignment-search (Idiap's Coqui): scores (batch, tokens, frames)."""
    package = importlib.import_module("monotonic_alignment_search")

    def search(score, frames, tokens):
        mask = mask_of(score, frames, tokens).transpose(1, 2).contiguous()
        return package.maximum_path(score.transpose(1, 2).contiguous(), mask, implementation=implementation).sum(2)

    return search


def original():
    """The package monotonic-align: the Cython of jaywalnut310/vits."""
    package = importlib.import_module("monotonic_align")
    return lambda score, frames, tokens: package.maximum_path(score, mask_of(score, frames, tokens)).sum(1)


def supertone():
    """super-monotonic-align (Triton, from GitHub), CUDA only: scores (batch, tokens, frames), which it overwrites."""
    package = importlib.import_module("super_monotonic_align")

    def search(score, frames, tokens):
        mask = mask_of(score, frames, tokens).transpose(1, 2).contiguous()
        return package.maximum_path(score.transpose(1, 2).clone(memory_format=torch.contiguous_format), mask).sum(2)

    return search


def compiled():
    """The usual loops under numba, items in parallel."""
    numba = importlib.import_module("numba")

    @numba.njit(parallel=True)
    def loops(score, frames, tokens, durations):
        for b in numba.prange(score.shape[0]):
            best = np.full((frames[b], tokens[b]), -1e30)
            for t in range(frames[b]):
                for x in range(max(0, tokens[b] + t - frames[b]), min(tokens[b], t + 1)):
                    stay = best[t - 1, x] if t and x < t else -1e30
                    move = best[t - 1, x - 1] if t and x else (0.0 if t == 0 else -1e30)
                    best[t, x] = score[b, t, x] + max(stay, move)
            x = tokens[b] - 1
            for t in range(frames[b] - 1, -1, -1):
                durations[b, x] += 1
                if t and x and (x == t or best[t - 1, x - 1] > best[t - 1, x]):
                    x -= 1

    def search(score, frames, tokens):
        durations = np.zeros((score.shape[0], score.shape[2]), np.int64)
        loops(score.cpu().numpy(), frames.cpu().numpy(), tokens.cpu().numpy(), durations)
        return torch.from_numpy(durations).to(score.device)

    return search


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--device", default="cpu")
    options.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = options.parse_args()
    rivals = {"torch, on the device": lambda: by_torch, "numba": compiled, "monotonic-align": original}
    rivals |= {f"monotonic-alignment-search {kind}": lambda kind=kind: coqui(kind) for kind in ("cython", "numpy")}
    if options.device != "cpu":
        rivals["super-monotonic-align"] = supertone
    searches, absent = {"ttslib": ours}, []
    for name, make in rivals.items():
        try:
            searches[name] = make()
        except ImportError as error:
            absent.append(f"{name}: {error}")
    torch.set_num_threads(options.threads)
    if "numba" in searches:
        importlib.import_module("numba").set_num_threads(options.threads)
    # One thread's own time is the same on a shared machine; with more, or on a GPU, only the wall's says anything.
    alone = options.device == "cpu" and options.threads == 1
    clock = time.process_time if alone else time.perf_counter
    spent = {name: [] for name in searches}
    agree = {name: [] for name in searches}
    for batch, frames, tokens in SIZES:
        rng = torch.Generator().manual_seed(0)
        width = torch.randint(tokens // 2, tokens + 1, (batch,), generator=rng)
        count = torch.maximum(torch.randint(frames // 2, frames + 1, (batch,), generator=rng), width)
        width[0], count[0] = tokens, frames
        score = 20 * torch.randn(batch, frames, tokens, generator=rng) - 200
        given = [x.to(options.device) for x in (score, count, width)]
        truth = alignment.monotonic(*given)
        for name, search in searches.items():
            found = search(*given)  # also compiles
            agree[name].append((found.long() == truth).all(1).float().mean().item())
        times = {name: [] for name in searches}
        for _ in range(PASSES):  # in turns, so that a disturbance of the machine falls on all of them
            for name, search in searches.items():
                start = clock()
                search(*given)[0, 0].item()  # waits for a GPU
                times[name].append(clock() - start)
        for name, seconds in times.items():
            spent[name].append(min(seconds) * 1000)
    print(f"{'ms, best of ' + str(PASSES):36}" + "".join(f"{f'{b} x {t} x {n}':>18}" for b, t, n in SIZES) + "   agree")
    for name, row in spent.items():
        cells = "".join(f"{ms:10.1f} {ms / spent['ttslib'][i]:6.2f}x" for i, ms in enumerate(row))
        print(f"{name:36}{cells}   {100 * np.mean(agree[name]):.1f} %")
    for line in absent:
        print(f"not installed: {line}")
    kind = "processor time" if alone else "wall time"
    print(f"{options.device}, {options.threads} threads, {kind}, torch {torch.__version__}")


if __name__ == "__main__":
    main()
