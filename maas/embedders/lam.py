"""LAMEncoder: the packaged, inference-only encoder, from a bundle folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from maas.embedders.lam_family import LamFamilyEmbedder, lam_backend_class
from maas.errors import EmbedderUnavailableError

if TYPE_CHECKING:
    from maas.settings import Settings

BUNDLE = "lam-base-v1"


def build(settings: Settings) -> LamFamilyEmbedder:
    """Load the bundle at ``embedder.lam_path``.

    Raises:
        EmbedderUnavailableError: the encoder or its bundle is missing or broken.
    """
    folder = settings.embedder.lam_path
    if not folder.is_dir():
        raise EmbedderUnavailableError(
            f"there is no LAM bundle at {folder.absolute()}; unpack or build {BUNDLE} there "
            "(`python -m lam_backend.packaging.package_lam`), or set embedder.lam_path to it"
        )
    encoder_class = lam_backend_class("LAMEncoder")
    try:
        encoder = encoder_class(str(folder))
    except Exception as error:  # loaders raise classes of their own (onnxruntime, safetensors, tokenizers)
        raise EmbedderUnavailableError(
            f"the LAM bundle in {folder} cannot be loaded ({error}); replace it with an intact {BUNDLE} bundle"
        ) from error
    return LamFamilyEmbedder(encoder)
