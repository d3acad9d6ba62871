"""Shared grounds: outputs go to a temporary folder, torch keeps to one thread, the toy corpus is spoken once."""

import os
import shutil
import socket
from dataclasses import replace
from multiprocessing import forkserver
from pathlib import Path

import pytest
import torch

from ttslib import dataset, encoding, manifest, params, speech
from ttslib.systems import system_class


def pytest_collection_finish(session):
    """The fork server imports torch while other tests run."""
    if any(hasattr(item.module, "training") for item in session.items):
        forkserver.ensure_running()


QUIET = {"tracking": "disabled", "device": "cpu", "threads": 1}


def loopback(host) -> bool:
    host = host.decode() if isinstance(host, bytes) else host
    return host in (None, "", "localhost", "::1", "0.0.0.0", socket.gethostname()) or str(host).startswith("127.")


@pytest.fixture(scope="session", autouse=True)
def no_network():
    """Nothing outside this machine is asked for while tests run; who tries fails, whatever it would have caught."""

    def guarded(original, host_of):
        def call(*given, **named):
            if not loopback(host := host_of(*given)):
                pytest.fail(f"{os.environ.get('PYTEST_CURRENT_TEST', 'a fixture')} asked the network for {host!r}")
            return original(*given, **named)

        return call

    def peer(one, address):
        return None if one.family == socket.AF_UNIX else address[0]

    with pytest.MonkeyPatch.context() as patch:
        for name in ("connect", "connect_ex"):
            patch.setattr(socket.socket, name, guarded(getattr(socket.socket, name), peer))
        # here names are looked up, before anything is connected
        patch.setattr(socket, "getaddrinfo", guarded(socket.getaddrinfo, lambda host, *_, **__: host))
        yield


@pytest.fixture(scope="session", autouse=True)
def nothing_lands_in_the_repository(tmp_path_factory):
    """Whatever a test forgets to redirect goes here."""
    os.environ["TTSLIB_OUTPUTS"] = str(tmp_path_factory.mktemp("outputs"))
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def spoken(nothing_lands_in_the_repository):
    """The qaa manifest of real espeak-ng speech, made once. Read it, do not write into its folder."""
    pytest.importorskip("espeakng_loader")
    return manifest.prepare(params.load("qaa", **QUIET))


@pytest.fixture
def outputs(tmp_path, monkeypatch) -> Path:
    """An empty outputs folder of the test's own."""
    monkeypatch.setenv("TTSLIB_OUTPUTS", str(tmp_path / "outputs"))
    return tmp_path / "outputs"


@pytest.fixture
def prepared(outputs, spoken) -> Path:
    """An outputs folder of the test's own that holds a copy of the toy corpus, its features included."""
    shutil.copytree(spoken.folder, outputs / "qaa" / "data" / spoken.folder.name)
    return outputs


@pytest.fixture(scope="module")
def stocked(tmp_path_factory, spoken) -> Path:
    """`prepared` for a whole module: its runs are trained there once."""
    place = tmp_path_factory.mktemp("stocked")
    shutil.copytree(spoken.folder, place / "qaa" / "data" / spoken.folder.name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TTSLIB_OUTPUTS", str(place))
        yield place


@pytest.fixture(scope="session")
def clips(spoken):
    """`(system, features of train, features of val)`: an untrained acoustic system and the encoded toy corpus."""
    p = params.load("qaa", **QUIET)
    system = system_class(p.system).fresh(p, spoken.split("train"))
    train, val = (speech.features(system, spoken, split, p) for split in ("train", "val"))
    system.measure(train)
    return system, train, val


# --- of systems that speak in the voice of a prompt; the module's own `p` says which -----------------------------------


@pytest.fixture(scope="module")
def encoded(p, spoken, tmp_path_factory):
    """Training rows (two speakers, one of them with a single clip) and their features."""
    rows = spoken.split("train")
    rows = [*rows[:-1], replace(rows[-1], speaker="lonely")]
    fresh = system_class(p.system).fresh(p, rows)
    cache = tmp_path_factory.mktemp("features")
    return rows, encoding.encode_all(fresh, rows, speech.reader(fresh, spoken), cache, 1.0)


@pytest.fixture
def system(p, encoded):
    """A fresh one, measured, as training starts from it."""
    made = system_class(p.system).fresh(p, encoded[0])
    made.measure(encoded[1])
    return made


@pytest.fixture
def batch(encoded):
    return dataset.collate([encoded[1][i] for i in (0, 1, 2, len(encoded[1]) - 1)])
