"""Troupe with more flags of `troupe serve`: groups, tensor and pipeline splits."""

from dataclasses import dataclass
from pathlib import Path

from sides import Troupe


@dataclass(frozen=True)
class Ranks(Troupe):
    options: tuple[str, ...] = ()

    def serve(self, port: int, state: Path):
        command, environment = super().serve(port, state)
        return [*command, *self.options], environment
