"""Who becomes the champion: numbers in, a verdict in words out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.retraining.decision import decide
from models.retraining.margins import Margins

MARGINS = Margins(miou=0.01, object_f1=0.02, false_alarms=0.1)
CHAMPION = {"miou": 0.70, "object_f1": 0.60, "false_alarms_per_image": 0.5}
SCORE = st.one_of(st.none(), st.floats(0, 1).map(lambda value: round(value, 6)))
SCORES = st.fixed_dictionaries(
    {"miou": SCORE, "object_f1": SCORE, "false_alarms_per_image": st.one_of(st.none(), st.floats(0, 50))}
)


def decided(challenger, champion=CHAMPION, margins=MARGINS, **more):
    return decide({"sos-clean": (champion, {**champion, **challenger})}, margins, **more)


def test_a_better_one_is_promoted():
    decision = decided({"miou": 0.75, "object_f1": 0.66, "false_alarms_per_image": 0.4})
    assert decision.promote
    assert decision.reasons == (
        "sos-clean: mIoU 0.7500, champion 0.7000: no worse",
        "sos-clean: object F1 0.6600, champion 0.6000: no worse",
        "sos-clean: false alarms per image 0.4000, champion 0.5000: no worse",
    )


@pytest.mark.parametrize(
    ("score", "just_within", "beyond", "said"),
    [
        ("miou", 0.69, 0.6899, "mIoU 0.6899, champion 0.7000: worse by 0.0101, beyond the margin of 0.01"),
        ("object_f1", 0.58, 0.5799, "object F1 0.5799, champion 0.6000: worse by 0.0201"),
        ("false_alarms_per_image", 0.6, 0.6001, "per image 0.6001, champion 0.5000: worse by 0.1001"),
    ],
)  # fmt: skip
def test_each_score_alone_keeps_the_champion(score, just_within, beyond, said):
    assert decided({score: just_within}).promote
    decision = decided({score: beyond, "miou": beyond if score == "miou" else 0.99})
    assert not decision.promote
    assert len(decision.reasons) == 1
    assert said in decision.reasons[0]
    assert decision.sentence.startswith("the champion stays: sos-clean: ")


def test_one_of_several_sets_is_enough_to_keep_the_champion():
    better, worse = {**CHAMPION, "miou": 0.9}, {**CHAMPION, "miou": 0.5}
    decision = decide({"osd": (CHAMPION, better), "sos-clean": (CHAMPION, worse)}, MARGINS)
    assert [reason.split(":")[0] for reason in decision.reasons] == ["sos-clean"]


def test_what_cannot_be_compared_or_is_impossible_is_never_promoted():
    unknown = decided({"object_f1": None})
    assert not unknown.promote
    assert "object F1 undefined, champion 0.6000: not comparable" in unknown.reasons[0]
    assert not decided({"miou": float("nan")}).promote
    assert not decide({}, MARGINS).promote
    two_classes = decided({"miou": 0.99}, obstacle="it tells apart other, oil alone")
    assert two_classes.reasons == ("it tells apart other, oil alone",)


@given(SCORES, SCORES, st.floats(0, 1), st.floats(0, 1), st.floats(0, 10))
def test_it_is_never_promoted_when_any_score_falls_beyond_its_margin(champion, challenger, miou, object_f1, alarms):
    margins = Margins(miou, object_f1, alarms)
    decision = decide({"set": (champion, challenger)}, margins)
    known = None not in champion.values() and None not in challenger.values()
    falls = known and (
        challenger["miou"] < champion["miou"] - miou - 1e-6
        or challenger["object_f1"] < champion["object_f1"] - object_f1 - 1e-6
        or challenger["false_alarms_per_image"] > champion["false_alarms_per_image"] + alarms + 1e-6
    )
    if not known or falls:
        assert not decision.promote
        assert decision.reasons
    same = known and challenger == champion
    if same:
        assert decision.promote
