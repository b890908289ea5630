"""The options that every training has, in sections, and the TOML files they are read from.

Field names are unique across the sections of a training, so that its checkpoints and states record options flat.
"""

from __future__ import annotations

import math
import os
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, TypeVar, get_args, get_origin, get_type_hints

from ingest.errors import UsageError

DECAYS = ("cosine", "constant")
DECAY_STARTS = ("warm-up", "start")
DEVICES = ("cpu", "cuda", "auto")

Options = TypeVar("Options", bound="CommonOptions")


@dataclass(frozen=True)
class Schedule:
    """Learning rate by step: a linear warm-up, then a half cosine down to a hundredth of the peak, or a constant."""

    batch_size: int = 8  # per step, over all devices and accumulated parts
    learning_rate: float = 1e-3  # at its peak
    warm_up: int = 0  # steps
    decay: str = "cosine"  # of `DECAYS`
    decay_from: str = "warm-up"  # where the cosine begins: at the end of the warm-up, or at the first step ("start")

    def rate(self, step: int, steps: int) -> float:
        """Return the learning rate of a step, counted from 0, of `steps`."""
        if step < self.warm_up:
            return self.learning_rate * (step + 1) / self.warm_up
        if self.decay == "constant":
            return self.learning_rate
        begin = self.warm_up if self.decay_from == "warm-up" else 0
        done = (step - begin) / max(1, steps - begin)
        return self.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))


@dataclass(frozen=True)
class Optimiser:
    """AdamW, and the moving average of the weights, which is what is saved."""

    weight_decay: float = 0.05
    average_decay: float = 0.998  # per step; 0: no average
    average_warm_up: bool = False  # limit the decay of step i to (1 + i) / (10 + i), to forget the initial weights


@dataclass(frozen=True)
class Memory:
    """How a batch is divided to fit into memory."""

    accumulate: int = 1  # parts in which each process takes its share of a batch
    memory_gb: float | None = None  # per process: `accumulate` is raised until a step fits


@dataclass(frozen=True)
class Run:
    """Where a training runs and how often it is saved; may change when it is resumed."""

    device: str = "cpu"  # "cpu", "cuda", or "auto": the accelerator where there is one
    devices: int = 1  # processes that share a batch, each on its own device
    workers: int = 1  # processes per device that prepare pairs
    threads: int = 1
    half_precision: bool = True  # bfloat16 where the device has it, with float32 weights
    save_every: int | None = 1000  # steps between two states to resume from


@dataclass(frozen=True)
class CommonOptions:
    """The sections that the training engine reads."""

    schedule: Schedule = field(default_factory=Schedule)
    optimiser: Optimiser = field(default_factory=Optimiser)
    memory: Memory = field(default_factory=Memory)
    run: Run = field(default_factory=Run)
    seed: int = 1

    subject: ClassVar[str] = "training options"
    resumable_with: ClassVar[tuple[str, ...]] = ()  # options outside `memory` and `run` that may change on resuming

    def __post_init__(self) -> None:
        for section in (self, *self._sections().values()):
            for name, kind in get_type_hints(type(section)).items():
                if get_origin(kind) is not ClassVar and not is_dataclass(kind):
                    self._check(name, _is_of(getattr(section, name), kind), _type_name(kind))
        for name, least in _LEAST.items():
            value = flat(self)[name]
            self._check(name, value is None or value >= least, f"at least {least}")
        self._check("average_decay", 0 <= self.optimiser.average_decay < 1, "at least 0 and below 1")
        self._check("decay", self.schedule.decay in DECAYS, f"one of {', '.join(DECAYS)}")
        self._check("decay_from", self.schedule.decay_from in DECAY_STARTS, f"one of {', '.join(DECAY_STARTS)}")
        self._check("device", self.run.device in DEVICES, f"one of {', '.join(DEVICES)}")
        self._check("memory_gb", self.memory.memory_gb is None or self.memory.memory_gb > 0, "above 0")
        parts = self.run.devices * self.memory.accumulate
        whole = self.schedule.batch_size % parts == 0
        self._check("batch_size", whole, f"a multiple of devices x accumulate = {parts}")

    def fixed(self) -> dict[str, Any]:
        """Return the options that must be the same when a training is resumed."""
        free = {f.name for section in (self.memory, self.run) for f in fields(section)} | set(self.resumable_with)
        return {name: value for name, value in flat(self).items() if name not in free}

    def _sections(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in fields(self) if is_dataclass(getattr(self, f.name))}

    def _check(self, name: str, right: bool, remedy: str) -> None:
        if not right:
            raise UsageError(self.subject, f"{name} is {flat(self)[name]!r}", f"it must be {remedy}")


_LEAST = {
    "batch_size": 1, "learning_rate": 0, "warm_up": 0, "weight_decay": 0, "seed": 0, "save_every": 1, "devices": 1,
    "accumulate": 1, "workers": 0, "threads": 1,
}  # fmt: skip


def recorded(options: Any) -> dict[str, Any]:
    """Return options as a checkpoint records them: flat, and folders by name, whatever machine they are on."""
    return {
        name: Path(value).name if isinstance(value, str) and os.sep in value else value
        for name, value in flat(options).items()
    }


def flat(options: Any) -> dict[str, Any]:
    """Return options by name, without their sections: what states record."""
    values: dict[str, Any] = {}
    for name, value in asdict(options).items():
        values.update(value if isinstance(value, dict) else {name: value})
    return values


def changed(options: Options, **values: Any) -> Options:
    """Return options with some of them replaced, by name, in whatever section they are."""
    sections: dict[str, Any] = {}
    for name, section in options._sections().items():
        own = {f.name: values.pop(f.name) for f in fields(section) if f.name in values}
        if own:
            sections[name] = replace(section, **own)
    return replace(options, **sections, **values)


def read_options_file(config: Path | None, options: type[Options], document: str) -> Options:
    """Read the sections of a TOML file; None: the defaults. Arrays become tuples.

    Raises `UsageError` naming an unknown section or option and whatever the options refuse, and pointing to `document`
    where the file cannot be read.
    """
    defaults = options()
    if config is None:
        return defaults
    try:
        given: dict[str, Any] = tomllib.loads(config.read_text())
    except (OSError, ValueError) as error:  # also text that is not UTF-8
        raise UsageError(config, f"not a readable TOML file ({error})", f"see {document}") from error
    return changed(defaults, **_by_name(config, given, defaults))


def _by_name(config: Path, given: Mapping[str, Any], defaults: CommonOptions) -> dict[str, Any]:
    sections = {name: {f.name for f in fields(section)} for name, section in defaults._sections().items()}
    scalars = {f.name for f in fields(defaults)} - set(sections)
    values: dict[str, Any] = {}
    for key, value in given.items():
        if key in sections and isinstance(value, dict):
            if unknown := sorted(set(value) - sections[key]):
                raise UsageError(config, f"unknown option {unknown[0]!r} in [{key}]", _known(sections[key]))
            values.update(value)
        elif key in scalars:
            values[key] = value
        elif owner := next((name for name, names in sections.items() if key in names), None):
            raise UsageError(config, f"option {key!r} is outside its section", f"move it below [{owner}]")
        else:
            raise UsageError(config, f"unknown option {key!r}", _known({*scalars, *(f"[{name}]" for name in sections)}))
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}


def _known(names: set[str]) -> str:
    return f"known are {', '.join(sorted(names))}"


def _type_name(kind: Any) -> str:
    return "a list of whole numbers" if get_origin(kind) is tuple else str(getattr(kind, "__name__", kind))


def _is_of(value: object, kind: Any) -> bool:
    """Whether a value has an annotated type; whole numbers are floats too, but booleans are not numbers."""
    if get_origin(kind) is tuple:
        return isinstance(value, tuple) and all(type(one) is int for one in value)
    if alternatives := get_args(kind):
        return any(_is_of(value, one) for one in alternatives)
    return type(value) is kind or (type(value) is int and kind is float)
