"""What a Piper voice's ONNX file holds: weights under the names that they had before the export, read from the graph."""

import re
from pathlib import Path

import numpy as np

from ttslib.checkpoint import CheckpointError

PARAMETER = re.compile(r"(enc_p|dec|flow|dp|emb_g)\.")
# The exporter renames folded weights; which layer a tensor belongs to is then seen from the node that reads it.
SLOTS = {("Conv", 1): "weight", ("Conv", 2): "bias", ("Gather", 0): "weight"}
SLOTS |= {("ConvTranspose", slot): role for (op, slot), role in SLOTS.items() if op == "Conv"}


class PiperError(CheckpointError):
    """Not a Piper VITS voice, or one that cannot be read; the message names the file and the reason."""


def read_onnx(path: Path) -> tuple[dict[str, np.ndarray], dict[str, dict], int]:
    """A voice's weights by their original names, the attributes of its convolutions, and how many constants are left."""
    try:
        import onnx
    except ImportError:
        raise PiperError("reading a Piper voice needs the package onnx: pip install 'ttslib[piper]'") from None
    from google.protobuf.message import DecodeError

    if not path.is_file():
        raise PiperError(f"{path} does not exist; correct the path")
    try:
        graph = onnx.load(path).graph
    except DecodeError:
        raise PiperError(f"{path} is not an ONNX file; give a Piper voice, NAME.onnx") from None
    if not {"input", "input_lengths", "scales"} <= (names := {put.name for put in graph.input}):
        raise PiperError(
            f"{path} is not a Piper VITS voice: its inputs are {', '.join(sorted(names)) or 'none'}, "
            "a voice's are input, input_lengths, scales (and sid)"
        )
    arrays = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
    # Shapes, axes and scalars are the graph's own; every other floating tensor must find its place in the model.
    arrays = {
        name: a.astype(np.float32) for name, a in arrays.items() if a.ndim and np.issubdtype(a.dtype, np.floating)
    }
    weights = {name: a for name, a in arrays.items() if PARAMETER.match(name)}
    used, convs = set(weights), {}
    for node in graph.node:
        layer = node.name.strip("/").rpartition("/")[0].replace("/", ".")
        if node.op_type in ("Conv", "ConvTranspose"):
            convs[layer] = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        for slot, name in enumerate(node.input):
            if name not in arrays or not layer:
                continue
            if role := SLOTS.get((node.op_type, slot)):
                weights.setdefault(f"{layer}.{role}", arrays[name])
                used.add(name)
            elif (layer, node.op_type) == ("dp.flows.0", "Mul"):  # exp(-logs), folded
                weights.setdefault("dp.flows.0.logs", -np.log(arrays[name]))
                used.add(name)
    if unused := sorted(arrays.keys() - used):
        raise PiperError(
            f"{path}: nothing in a Piper VITS corresponds to {len(unused)} tensors: {', '.join(unused[:5])}"
        )
    return weights, convs, len(graph.initializer) - len(arrays)
