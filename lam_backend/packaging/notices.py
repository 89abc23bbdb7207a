"""README and licence notices of the bundle."""

from __future__ import annotations

from importlib import resources

_README = """# lam-base-v1

Sentence vectors of 384 numbers, for texts of any length. Needs `numpy`, `tokenizers` and `onnxruntime` 1.32 or newer;
no torch, no network.

```python
from lam_wrapper import LAMEncoder  # this folder on the path, or lam_wrapper.py and lam_runtime beside your code

encoder = LAMEncoder("lam-base-v1")
vectors = encoder.encode(["The cat sat on the mat.", "A cat was sitting there."])
print(encoder.similarity(vectors, vectors))
```

`from lam_wrapper import LAMEncoder as SentenceTransformer` runs code written for sentence-transformers:
`encode`, `encode_query`, `encode_document`, `similarity`, `get_sentence_embedding_dimension`, `prompts`.

- `LAMEncoder(path, precision="fp32")` is exact; `"int8"` is smaller and faster. `lam_config.json` names the default.
- `encoder.encode_long(text)` reads a book once and gives a vector for each passage, in constant memory.
- `encoder.encode_in_context(turns)` gives each turn of a conversation a vector that has read the turns around it.
- `stream = encoder.stream(); stream.append(text); stream.vector; stream.state_dict()` reads a growing text; the state
  can be saved and taken up elsewhere.
- `SentenceTransformer("lam-base-v1", trust_remote_code=True)` loads the folder through `lam_module.py`.

Each file's SHA-256 is in `lam_config.json` and is checked when the encoder is made.
Vectors of two bundles can be compared only if their `fingerprint` is the same. This one: `{fingerprint}`.

Licences: see `LICENSE` and `NOTICE`.
"""

_LICENSE = """LAM: all rights reserved.

The graphs' trained weights and the code in this folder are proprietary. They may be used for inference by whoever
received them from their owner; they may not be redistributed, and the weights may not be extracted, without the
owner's written permission. Parts that come from others stay under their own licences: see NOTICE.
"""

_NOTICE = """This bundle contains the token embeddings, feed-forward weights and tokenizer of all-MiniLM-L6-v2
(sentence-transformers, https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2), under the Apache License,
Version 2.0, whose text is in LICENSE-APACHE-2.0. They were changed: stored in other formats and in 8-bit integers,
and combined with weights of our own.
"""


def texts(fingerprint: str) -> dict[str, str]:
    """File name → content."""
    apache = resources.files(__package__).joinpath("LICENSE-APACHE-2.0").read_text(encoding="utf-8")
    return {
        "README.md": _README.format(fingerprint=fingerprint),
        "LICENSE": _LICENSE,
        "NOTICE": _NOTICE,
        "LICENSE-APACHE-2.0": apache,
    }
