"""Attacks, ours and somebody else's."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ringfort.attacks import (
    Attack,
    AttackerView,
    Control,
    DataAttack,
    Knowledge,
    LabelFlip,
    PixelBackdoor,
    Predict,
    SignFlip,
    ThreatModel,
    UpdateAttack,
)
from ringfort.core import Dataset

SignFlip()  # error: call-arg
SignFlip("4")  # error: arg-type
LabelFlip(source=1)  # error: call-arg
PixelBackdoor(target=0)  # error: call-arg
ThreatModel("goal", Knowledge.OWN_DATA, Control.DATA)  # error: call-arg
ThreatModel("goal", "own data", Control.DATA, True)  # error: arg-type

on_updates: UpdateAttack = SignFlip(scale=4)
on_data: list[DataAttack] = [LabelFlip(source=1, target=2), PixelBackdoor(target=0, fraction=0.5)]
on_data = [SignFlip(scale=4)]  # error: list-item
any_of_them: list[Attack] = [on_updates, *on_data]


@dataclass(frozen=True)
class Silence:
    """A third party's attack; it inherits nothing."""

    name: ClassVar[str] = "silence"
    metric: ClassVar[str] = ""
    threat: ClassVar[ThreatModel] = ThreatModel("be a burden", Knowledge.OWN_UPDATES, Control.UPDATES, False)

    def craft(self, view: AttackerView, rng: np.random.Generator) -> NDArray[np.float32]:
        return 0 * view.own_updates

    def success(self, predict: Predict, test: Dataset) -> None:
        return None


theirs: UpdateAttack = Silence()
not_on_data: DataAttack = Silence()  # error: assignment


def looks(view: AttackerView) -> NDArray[Any]:
    view.round = 3  # error: misc
    return view.everything  # error: attr-defined
