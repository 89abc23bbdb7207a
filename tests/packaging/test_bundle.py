"""What the archive holds, that it is the same every time, and that the formula is not in it."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import onnx
import pytest

from lam_backend.model import DeltaNet6Layer
from lam_backend.packaging.package_lam import NAME, build, main

RUNTIME = ("__init__", "bundle", "encoder", "in_context", "lanes", "passages", "step", "stream", "text", "vectors")
FILES = {
    "LICENSE", "LICENSE-APACHE-2.0", "NOTICE", "README.md", "config.json", "config_sentence_transformers.json",
    "lam_config.json", "lam_module.py", "lam_wrapper.py", "model_fp32.onnx", "model_int8.onnx", "modules.json",
    *(f"lam_runtime/{name}.py" for name in RUNTIME),
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt",
}  # fmt: skip
SPELLS_IT = re.compile(
    r"delta|decay|flux|resonan|ladder|softplus|sigmoid|rmsnorm|erase|write.strength|backward|gradient|distil|recurren"
    r"|outer product|lam_backend|optimi[sz]er|learning.rate|(?<!not )train(ing|er)",
    re.IGNORECASE,
)
OF_OTHERS = {"tokenizer.json", "vocab.txt", "LICENSE-APACHE-2.0"}
GRAPHS = ("model_fp32.onnx", "model_int8.onnx")


def files(unpacked: Path) -> list[Path]:
    """Python may have left its cache of compiled modules beside them."""
    return [path for path in unpacked.rglob("*") if path.is_file() and path.parent.name != "__pycache__"]


def named(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in files(folder)}


def test_it_holds_what_it_should(unpacked: Path) -> None:
    assert named(unpacked) == FILES
    config = json.loads((unpacked / "lam_config.json").read_text(encoding="utf-8"))
    assert (config["dim"], config["layers"], config["heads"]) == (32, 2, 4)
    assert set(config["files"]) == FILES - {"lam_config.json"}
    for name, digest in config["files"].items():
        assert hashlib.sha256((unpacked / name).read_bytes()).hexdigest() == digest, name
    words = (unpacked / "vocab.txt").read_text(encoding="utf-8").splitlines()
    assert words[:4] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]


def test_same_weights_same_bytes(model: DeltaNet6Layer, dist: Path, tmp_path: Path) -> None:
    build(model, tmp_path)
    archive = f"{NAME}-dist.tar.gz"
    assert (tmp_path / archive).read_bytes() == (dist / archive).read_bytes()


def test_a_bundle_that_is_there_is_replaced_whole(model: DeltaNet6Layer, tmp_path: Path) -> None:
    (tmp_path / NAME).mkdir()
    (tmp_path / NAME / "left over").touch()
    build(model, tmp_path)
    assert named(tmp_path / NAME) == FILES
    assert {path.name for path in tmp_path.iterdir()} == {NAME, f"{NAME}-dist.tar.gz"}


def test_no_text_in_it_spells_the_formula(unpacked: Path) -> None:
    for path in files(unpacked):
        if path.suffix != ".onnx" and path.name not in OF_OTHERS:
            found = SPELLS_IT.search(path.read_text(encoding="utf-8"))
            assert not found, (path.name, found)


@pytest.mark.parametrize("name", GRAPHS)
def test_the_graphs_name_nothing(unpacked: Path, name: str) -> None:
    graph = onnx.load(str(unpacked / name))
    assert not graph.metadata_props
    assert not graph.functions
    assert (graph.doc_string, graph.producer_name, graph.domain, graph.graph.doc_string) == ("", "", "", "")
    public = {"ids", "mask", "sum", "tokens", *(f"{kind}{layer}" for kind in "sr" for layer in range(2))}
    named: list[Any] = [*graph.graph.initializer, *graph.graph.input, *graph.graph.output, *graph.graph.value_info]
    for item in named:
        assert re.fullmatch(r"n\d+", item.name) or item.name in public
        assert not item.doc_string
    for node in graph.graph.node:
        assert (node.name, node.doc_string, len(node.metadata_props)) == ("", "", 0)
        assert all(re.fullmatch(r"n\d+|", value) or value in public for value in (*node.input, *node.output))
        assert not [a for a in node.attribute if a.type == onnx.AttributeProto.STRING]


def test_the_watchword_finds_what_must_not_leave() -> None:
    """The two tests above would fail if the layer's source were in the bundle."""
    from lam_backend import attention, delta_rule

    for module in (attention, delta_rule):
        assert module.__file__ is not None
        assert SPELLS_IT.search(Path(module.__file__).read_text(encoding="utf-8"))


def test_the_recurrence_is_the_fused_operator(unpacked: Path) -> None:
    for name in GRAPHS:
        nodes = [node for node in onnx.load(str(unpacked / name)).graph.node if node.op_type == "LinearAttention"]
        assert [node.domain for node in nodes] == ["com.microsoft"] * 2  # two layers, each with both directions
        assert not any(node.op_type in {"Scan", "Loop", "Conv"} for node in nodes)


def test_a_folder_that_cannot_be_written(
    model: DeltaNet6Layer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blocked = tmp_path / "a file"
    blocked.touch()
    with pytest.raises(OSError, match=r"cannot be written .* --out"):
        build(model, blocked)
    assert main(["--checkpoint", str(tmp_path / "none"), "--out", str(tmp_path)]) == 1
    assert "no checkpoint at" in capsys.readouterr().err


def test_the_command_builds_and_says_so(
    model: DeltaNet6Layer, dist: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = model.base_path.parent / "model.safetensors"
    assert main(["--checkpoint", str(checkpoint), "--base", str(model.base_path), "--out", str(tmp_path)]) == 0
    archive = f"{NAME}-dist.tar.gz"
    assert (tmp_path / archive).read_bytes() == (dist / archive).read_bytes()
    assert model.fingerprint in capsys.readouterr().out


def test_a_model_that_8_bits_would_ruin_is_not_packaged(
    model: DeltaNet6Layer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lam_backend.packaging import linear

    monkeypatch.setattr(linear, "PAIR_LEVELS", 2)
    with pytest.raises(ValueError, match="8-bit products move a known sentence to a cosine of 0"):
        build(model, tmp_path)
    assert not (tmp_path / NAME).exists()


def test_figures_are_measured_on_the_data_and_recorded(
    model: DeltaNet6Layer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stsb, locomo = tmp_path / "data" / "eval" / "stsb", tmp_path / "data" / "eval" / "locomo"
    for folder in (stsb, locomo):
        folder.mkdir(parents=True)
    pairs = [f"{n}\tthe cat sat\t{' '.join(['the cat sat', 'on the mat', 'home'][: n % 3 + 1])}\n" for n in range(6)]
    for split in ("dev", "test"):
        (stsb / f"en_{split}.tsv").write_text("".join(pairs))
    turn = {"conv_id": "c", "session": 1, "speaker": "Ann", "text": "the bird ran over the sea"}
    (locomo / "docs.jsonl").write_text("".join(json.dumps({**turn, "doc_id": f"D1:{n}"}) + "\n" for n in range(4)))
    (locomo / "queries.jsonl").write_text("")
    checkpoint = model.base_path.parent / "model.safetensors"
    command = ["--checkpoint", checkpoint, "--base", model.base_path, "--out", tmp_path, "--data", tmp_path / "data"]
    assert main([str(part) for part in command]) == 0
    measured = json.loads((tmp_path / NAME / "lam_config.json").read_text(encoding="utf-8"))["measured"]
    assert set(measured) == {"torch", "fp32", "int8"}
    assert measured["fp32"]["stsb_dev_pearson"] == pytest.approx(measured["torch"]["stsb_dev_pearson"], abs=0.001)
    assert measured["fp32"]["turns_cosine_min"] == 1
    assert 0.98 < measured["int8"]["turns_cosine_min"] < 1
    assert '"turns_cosine_min"' in capsys.readouterr().out
