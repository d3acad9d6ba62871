"""What each form of a voice weighs and costs: bytes of every storage, and processor seconds a second of speech of
onnxruntime beside PyTorch, one thread, in turns.

    python benchmarks/deployment.py                  # acoustic tiny and base, vits base, untrained: sizes and speed alone

torchao's int8 (`Int8WeightOnlyConfig`), which computes in int8 instead of storing in it, stands beside them where it is
installed.
"""

import copy
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import onnxruntime
import torch
from safetensors.torch import save_file

from ttslib import adapt, params
from ttslib.deploy import onnx_folder, weights, writing
from ttslib.systems import system_class

SENTENCE, SYMBOLS, TURNS = "bado kemi talu toki gera mani suvo lipe ", 60, 5


def fresh(name: str, preset: str):
    p = params.load("qaa", {"system": name, f"{name}.preset": preset, "device": "cpu", "threads": 1})
    system = system_class(name).fresh(p, [SimpleNamespace(text=SENTENCE, lang="qaa", speaker="a")])
    for net in system.nets.values():
        net.eval()
    if name == "acoustic":
        with torch.no_grad():
            system.net.durations.out.bias.fill_(1.7)  # 5 frames a symbol, as a trained one has
    return system


def stored(system, folder: Path) -> dict[str, int]:
    """Bytes of the speaking networks by kind of storage."""
    told = {}
    for kind in weights.KINDS:
        made = {}
        for name, net in writing.spoken(system).items():
            plain = {k: v.contiguous() for k, v in adapt.plain(net).items()}
            made |= {f"{name}.{k}": v for k, v in weights.reduced(plain, weights.channels(net), kind).items()}
        save_file({k: v.contiguous() for k, v in made.items()}, folder / "weights.safetensors")
        told[kind] = (folder / "weights.safetensors").stat().st_size
    return told


def spent(speak) -> float:
    began = time.process_time()
    speak()
    return time.process_time() - began


def torchao(system, folder: Path, given) -> tuple[int, object] | None:
    try:
        from torchao.quantization import Int8WeightOnlyConfig, quantize_
    except ModuleNotFoundError:
        return None
    net = copy.deepcopy(system.net)
    quantize_(net, Int8WeightOnlyConfig())
    torch.save(net.state_dict(), folder / "torchao.pt")
    return (folder / "torchao.pt").stat().st_size, lambda: net.infer(given["ids"], given["speaker"], given["language"])


@torch.no_grad()
def row(name: str, preset: str, folder: Path) -> dict:
    system = fresh(name, preset)
    told = {"system": f"{name} {preset}"} | stored(system, folder)
    told["onnx"] = onnx_folder.write(system, folder)["bytes"]["fp32"]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"])
    ids = system.ids((SENTENCE * 2)[:SYMBOLS].strip(), "qaa")
    given = onnx_folder.inputs(onnx_folder.of(system), ids)
    onnx_folder.reference(system, session, given)
    frames = int(onnx_folder.run(session, given)[1].sum())
    ways = {
        "PyTorch": lambda: (
            onnx_folder.reference(system, session, given) if name == "acoustic" else spoken(system, given)
        ),
        "onnxruntime": lambda: onnx_folder.run(session, given),
    }
    ao = torchao(system, folder, given) if name == "acoustic" else None
    if ao is not None:
        told["torchao"], ways["torchao int8"] = ao
    for way in ways.values():
        way()
    turns = [{way: spent(speak) for way, speak in ways.items()} for _ in range(TURNS)]
    seconds = frames * system.frame_seconds
    told |= {f"RTF {way}": statistics.median(one[way] for one in turns) / seconds for way in ways}
    return told | {"speech_s": seconds}


def spoken(system, given) -> None:
    system.generator.infer(given["ids"], None, 1.0)


def main() -> None:
    torch.set_num_threads(1)
    asked = [argument.split(":") for argument in sys.argv[1:]] or [
        ("acoustic", "tiny"),
        ("acoustic", "base"),
        ("vits", "base"),
    ]
    for name, preset in asked:
        with tempfile.TemporaryDirectory() as folder:
            told = row(name, preset, Path(folder))
        print("  ".join(f"{k} {v:.4f}" if isinstance(v, float) else f"{k} {v}" for k, v in told.items()), flush=True)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
