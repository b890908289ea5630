r"""The paper's tables on DAKD: train each row's diffusion model, draw its pairs, measure them, train a student on them.

    python -m benchmarks.dakd_tables 1 --jointnet configs/jointnet/osd.toml --student configs/saross/dakd-osd.toml \
        --out runs/t

Tables 1 (rival generators), 4 (cross-entropy and b), 6 (values of b) and 8 (how many pairs), on any data set and at any
size that the two configurations name. What two rows share is made once, and what is there already is gone on with.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flows.evaluate import evaluate_models
from flows.quality import assess_quality
from models.datasets.catalogue import open_dataset
from models.jointnet.generate import GenerateOptions, synthesize
from models.jointnet.options import JointOptions, read_joint_options
from models.jointnet.training import train_jointnet
from models.training.options import changed
from models.training.segmentation import train
from models.training.segmentation_options import TrainOptions, read_options


@dataclass(frozen=True)
class Row:
    """One row: what its diffusion model and its student have of their own."""

    model: str  # the folder of its diffusion model, which rows may share
    jointnet: dict[str, Any] = field(default_factory=dict)
    student: dict[str, Any] = field(default_factory=dict)


OURS = Row("sar-jointnet")
WITHOUT_CE, WITHOUT_B = {"label_loss": "l2"}, {"b": 1.0}
JOINTNET = Row("jointnet", {**WITHOUT_CE, **WITHOUT_B}, {"synthetic_labels": "hard"})
# Its steps, of which it has no stages, are all of the joint model's, at the rate of stages 1 and 2.
DDPM = Row("ddpm", {"kind": "concatenated", "final_factor": 1.0, **JOINTNET.jointnet}, JOINTNET.student)
TABLES: dict[str, dict[str, Row]] = {
    "1": {"DDPM": DDPM, "JointNet": JOINTNET, "SAR-JointNet": OURS},
    "4": {
        "neither": JOINTNET,
        "cross-entropy": Row("without-b", WITHOUT_B),
        "b": Row("without-ce", WITHOUT_CE, {"synthetic_labels": "hard"}),
        "both": OURS,
    },
    "6": {
        "b = 0.3": Row("b-0.3", {"b": 0.3}),
        "b of Eq. 20": OURS,
        "b = 0.7": Row("b-0.7", {"b": 0.7}),
        "b = 1": Row("without-b", WITHOUT_B),
    },
    "8": {
        "real only": Row("sar-jointnet", student={"synthetic": None}),
        "plain augmentation": Row("sar-jointnet", student={"synthetic": None, "augmentation": "strong"}),
        **{f"{n}x": Row("sar-jointnet", student={"synthetic_multiple": float(n)}) for n in (1, 2, 4, 8, 16)},
    },
}


_FEATURES = ("fid", "inception_score")


def main() -> None:
    """Make one table, row by row, and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=TABLES)
    parser.add_argument("--jointnet", type=Path, required=True, help="configuration of the diffusion model")
    parser.add_argument("--student", type=Path, required=True, help="configuration of the student")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--solver", default="ddim")
    parser.add_argument("--steps", type=int, default=200, help="of the solver")
    parser.add_argument("--rows", nargs="*", help="only these")
    asked = parser.parse_args()
    jointnet, student = read_joint_options(asked.jointnet), read_options(asked.student)
    print("row | features | FID | inception score | mIoU | F1 | recall | precision", flush=True)
    for name, row in TABLES[asked.table].items():
        if not asked.rows or name in asked.rows:
            draw = GenerateOptions(asked.solver, asked.steps, device=jointnet.run.device, threads=jointnet.run.threads)
            print(name, *make(name, row, jointnet, student, draw, asked.out), sep=" | ", flush=True)


def make(
    name: str, row: Row, jointnet: JointOptions, student: TrainOptions, draw: GenerateOptions, out: Path
) -> list[str]:
    """Make one row; returns its cells, empty where it has no synthetic pairs."""
    own = changed(student, **{"synthetic": "pairs", **row.student})
    features: dict[str, Any] = {}
    if own.distillation.synthetic is not None:
        model, pairs = out / row.model, out / f"{row.model}-pairs"
        train_jointnet(with_steps(changed(jointnet, **row.jointnet)), model, resume=True)
        real = open_dataset(jointnet.data.dataset).train
        assert real is not None
        synthesize(model, math.ceil(own.distillation.synthetic_multiple * len(real)), pairs, draw)
        features = assess_quality(jointnet.data.dataset, str(pairs), out / f"{row.model}-quality")["features"][-1]
        own = changed(own, synthetic=str(pairs))
    folder = out / "students" / name.replace(" ", "-")
    train(own, folder, resume=True)
    scores = next(iter(evaluate_models(str(own.data.real), [str(folder)])["models"].values()))
    shown = [features.get("extractor", ""), *(f"{features[k]:.2f}" if features else "" for k in _FEATURES)]
    return shown + [f"{100 * scores[key]:.2f}" for key in ("miou", "f1", "recall", "precision")]


def with_steps(options: JointOptions) -> JointOptions:
    """A concatenated network has one stage: give it all the steps."""
    return (
        changed(options, steps=(0, 0, sum(options.schedule.steps))) if options.model.kind == "concatenated" else options
    )


if __name__ == "__main__":
    main()
