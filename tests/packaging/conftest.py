"""A bundle built from the tiny model, and the wrapper that was shipped in it."""

from __future__ import annotations

import importlib.util
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from lam_backend.checkpoint import save_checkpoint
from lam_backend.model import DeltaNet6Layer
from lam_backend.packaging.package_lam import NAME, build
from tests.lam.conftest import TINY, restless, write_base


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> DeltaNet6Layer:
    """A tiny trained model as a user loads it: from its base folder and a checkpoint."""
    folder = tmp_path_factory.mktemp("trained")
    base = write_base(folder / "base")
    trained = restless(DeltaNet6Layer.untrained(base, TINY))
    save_checkpoint(folder / "model.safetensors", trained.trained_state(), TINY, "tiny")
    return DeltaNet6Layer(base, folder / "model.safetensors")


@pytest.fixture(scope="session")
def dist(model: DeltaNet6Layer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    build(model, out)
    return out


@pytest.fixture(scope="session")
def unpacked(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle as it comes out of the archive."""
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(dist / f"{NAME}-dist.tar.gz") as tar:
        tar.extractall(folder, filter="data")
    return folder / NAME


@pytest.fixture(scope="session")
def wrapper(unpacked: Path) -> Iterator[ModuleType]:
    """The lam_wrapper.py of the bundle, imported by itself."""
    spec = importlib.util.spec_from_file_location("shipped_lam_wrapper", unpacked / "lam_wrapper.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.fixture(scope="session")
def encoder(wrapper: ModuleType, unpacked: Path) -> Any:
    """The exact face of the tiny bundle."""
    return wrapper.LAMEncoder(unpacked, precision="fp32", threads=1)


@pytest.fixture(scope="session")
def small_encoder(wrapper: ModuleType, unpacked: Path) -> Any:
    """The 8-bit face of the tiny bundle."""
    return wrapper.LAMEncoder(unpacked, precision="int8", threads=1)


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("base") / "tiny")
