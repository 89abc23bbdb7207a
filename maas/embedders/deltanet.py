"""DeltaNet6Layer: the torch model, for research and for any checkpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING

from maas.embedders.lam_family import LamFamilyEmbedder, lam_backend_class
from maas.errors import EmbedderUnavailableError

if TYPE_CHECKING:
    from maas.settings import Settings


def build(settings: Settings) -> LamFamilyEmbedder:
    """Load the checkpoint and teacher named in the settings; unset, the released weights and the packaged MiniLM.

    Raises:
        EmbedderUnavailableError: the model, torch, the teacher or the checkpoint is missing or broken.
    """
    chosen = settings.embedder
    for key, path in (
        ("deltanet_checkpoint", chosen.deltanet_checkpoint),
        ("deltanet_teacher", chosen.deltanet_teacher),
    ):
        if path is not None and not path.exists():
            raise EmbedderUnavailableError(f"embedder.{key} is {path}, which does not exist; give an existing path")
    model_class = lam_backend_class("DeltaNet6Layer")
    given = {"teacher_model_path": chosen.deltanet_teacher, "trained_checkpoint_path": chosen.deltanet_checkpoint}
    try:
        model = model_class(**{name: str(path) for name, path in given.items() if path is not None})
    except Exception as error:  # loaders raise classes of their own (onnxruntime, safetensors, tokenizers)
        raise EmbedderUnavailableError(
            f"DeltaNet6Layer cannot be loaded ({error}); set embedder.deltanet_checkpoint to a trained checkpoint, "
            "or choose embedder.backend: sentence-transformers"
        ) from error
    return LamFamilyEmbedder(model)
