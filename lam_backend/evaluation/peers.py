"""The encoders LAM is measured beside, loaded from disk through sentence-transformers."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lam_backend.base import packaged_base
from lam_backend.evaluation.encoders import Encoder, Vectors

MINILM = "all-MiniLM-L6-v2"
MPNET = "all-mpnet-base-v2"


def load_peer(folder: Path, name: str, *, batch_size: int = 32) -> Encoder:
    """A sentence-transformers model of a folder, at the text length it was published with.

    Raises:
        FileNotFoundError: the folder holds no such model.
    """
    model = sentence_transformer(folder)
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()

    def encode(texts: Sequence[str]) -> Vectors:
        vectors: Vectors = model.encode(
            list(texts), batch_size=batch_size, normalize_embeddings=True, show_progress_bar=False
        )
        return vectors

    return Encoder(name, f"{name}:{model.max_seq_length}:{digest[:16]}", encode)


def sentence_transformer(folder: Path) -> Any:
    """The ``SentenceTransformer`` of a local folder, on the CPU; nothing is downloaded."""
    for required in ("modules.json", "model.safetensors"):
        if not (folder / required).is_file():
            raise FileNotFoundError(f"{folder / required} is missing; expected an unpacked sentence-transformers model")
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(folder), device="cpu", local_files_only=True)


def load_peers(mpnet: Path | None, *, batch_size: int = 32) -> tuple[list[Encoder], list[str]]:
    """The packaged MiniLM, and mpnet when its folder is given; and a sentence for each peer that is absent."""
    peers, absent = [], []
    try:
        peers.append(load_peer(packaged_base(), MINILM, batch_size=batch_size))
    except FileNotFoundError as error:
        absent.append(f"{MINILM} was not measured: {error}")
    if mpnet is None:
        absent.append(f"{MPNET} was not measured: no folder was given (--mpnet FOLDER)")
    else:
        peers.append(load_peer(mpnet, MPNET, batch_size=batch_size))
    return peers, absent
