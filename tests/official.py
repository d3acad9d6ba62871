"""The packages of the published models, as references to compare with: no part of what is shipped."""

import importlib.util
import sys
import types

import pytest


def chatterbox() -> types.ModuleType:
    """`chatterbox` as a bare package, so that its parts can be imported one by one; skips the test where it is not there.

    Its own `__init__` is passed over: it imports the whole runtime (watermarker, diffusers, speech tokenizer), pinned to
    versions of its own, for what a reference does not need.
    """
    if "chatterbox" not in sys.modules:
        found = importlib.util.find_spec("chatterbox")
        if found is None:
            pytest.skip("the package chatterbox-tts is not installed (pip install --no-deps chatterbox-tts)")
        bare = types.ModuleType("chatterbox")
        bare.__path__ = list(found.submodule_search_locations)
        sys.modules["chatterbox"] = bare
    return sys.modules["chatterbox"]


def needs(package: str):
    """Skip unless a package is there. `importorskip` would run its `__init__`, which wants far more than is used."""
    missing = importlib.util.find_spec(package) is None
    return pytest.mark.skipif(missing, reason=f"{package} is not installed (requirements-parity.txt)")
