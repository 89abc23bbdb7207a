"""The shape of a LAM encoder; a checkpoint carries it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, Self, get_args

Memory = Literal["ladder", "pair"]
Levels = Literal["both", "fast", "slow"]
_LEAST = {"d_model": 1, "num_heads": 1, "num_layers": 1, "segment_length": 1, "chunk_length": 1, "gate_rank": 0}
_CHOICES = {"memory": get_args(Memory), "levels": get_args(Levels)}
_SWITCHES = ("flux", "backward", "conv")


@dataclass(frozen=True, slots=True)
class LAMConfig:
    """Hyper-parameters of :class:`lam_backend.model.DeltaNet6Layer`.

    ``memory="ladder"`` keeps the hierarchy across the heads of one scan a direction: head 0 forgets within a few
    tokens, the last head after about a thousand. ``memory="pair"`` gives every head two memories, ``S_fast`` (gated
    trace) and ``S_slow`` (gated delta rule), and so needs two scans a direction.
    """

    d_model: int = 384
    num_heads: int = 12
    num_layers: int = 6
    segment_length: int = 512
    chunk_length: int = 64
    memory: Memory = "ladder"
    levels: Levels = "both"
    flux: bool = True
    backward: bool = True
    conv: bool = False
    gate_rank: int = 0
    """Rank of the output gate's projection; 0 is a full matrix."""

    def __post_init__(self) -> None:
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ValueError(f"{name} is {value!r}; expected a whole number of at least {least}")
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} is {getattr(self, name)!r}; expected one of {', '.join(choices)}")
        for name in _SWITCHES:
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} is {getattr(self, name)!r}; expected true or false")
        if self.d_model % self.num_heads:
            raise ValueError(f"d_model {self.d_model} is not divisible by num_heads {self.num_heads}")

    @property
    def head_dim(self) -> int:
        return self.d_model // self.num_heads

    @property
    def directions(self) -> int:
        """Forward, and backward within a segment where the form has it."""
        return 2 if self.backward else 1

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build from a mapping; a name that is no field is an error that lists the fields."""
        known = {field.name for field in fields(cls)}
        if unknown := sorted(set(values) - known):
            raise ValueError(f"unknown config keys {unknown}; known are {sorted(known)}")
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)
