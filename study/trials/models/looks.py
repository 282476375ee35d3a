"""What a picture's request meets: the session and one of its trials, with all that decides what is shown and whether.

Pictures are asked for twice as often as answers are given. One statement finds the same for either side, for every pair
and control: the time that it takes tells nothing. Where a trial has candidates, `Trial.image` looks them up, the
planned pair of a catch trial like all others.
"""

from __future__ import annotations

from typing import Final

from study.lab.models import BaseImage, Dataset, Pair
from study.trials.models.sessions import Session, token_sha256
from study.trials.models.statements import in_parts, instance, listed, prepared_cursor
from study.trials.models.studies import DesignVersion, Study
from study.trials.models.trials import Trial

#: Columns of what is read, in the order of their models, so that rows become instances; other columns are read when
#: they are asked for.
SESSION: Final = ("id", "study_id", "design_id", "population", "public_code", "token_sha256", "seed", "state")
DESIGN: Final = ("id", "sha256")
STUDY: Final = ("id", "dataset_id")
DATASET: Final = ("id", "name", "may_display_to_participants", "display_reason")
TRIAL: Final = ("id", "session_id", "index", "pair_id", "altered_side", "altered_frame", "candidates")
PAIR: Final = ("id", "file", "sha256", "base_image_id")
BASE_IMAGE: Final = ("id", "file", "sha256")

_LOOK: Final = f"""
    SELECT {listed("s", SESSION)}, {listed("v", DESIGN)}, {listed("y", STUDY)}, {listed("d", DATASET)},
        {listed("t", TRIAL)}, {listed("p", PAIR)}, {listed("b", BASE_IMAGE)}
    FROM trials_session s
    JOIN trials_designversion v ON v.id = s.design_id
    JOIN trials_study y ON y.id = s.study_id
    JOIN lab_dataset d ON d.id = y.dataset_id
    LEFT JOIN trials_trial t ON t.session_id = s.id AND t."index" = %s
    LEFT JOIN lab_pair p ON p.id = CASE WHEN t.candidates = '[]' THEN t.pair_id END
    LEFT JOIN lab_baseimage b ON b.id = p.base_image_id
    WHERE s.token_sha256 = %s
"""  # noqa: S608  (column names of our own)


def look(token: str, index: int) -> tuple[Session, Trial | None]:
    """The session of this token with study, data set and design, and its trial with its planned pair, if it has one.

    The trial is None where the plan has none of this index. Raises Session.DoesNotExist.
    """
    with prepared_cursor() as cursor:
        cursor.execute(_LOOK, [index, token_sha256(token)])
        row = cursor.fetchone()
    if row is None:
        raise Session.DoesNotExist
    found = in_parts(row, SESSION, DESIGN, STUDY, DATASET, TRIAL, PAIR, BASE_IMAGE)
    of_session, of_design, of_study, of_dataset, of_trial, of_pair, of_base_image = found
    session: Session = instance(Session, SESSION, of_session)
    session.design = instance(DesignVersion, DESIGN, of_design)
    session.study = instance(Study, STUDY, of_study)
    session.study.dataset = instance(Dataset, DATASET, of_dataset)
    if of_trial[0] is None:
        return session, None
    trial: Trial = instance(Trial, TRIAL, of_trial)
    trial.session = session
    if of_pair[0] is not None:
        trial.pair = instance(Pair, PAIR, of_pair)
        trial.pair.base_image = instance(BaseImage, BASE_IMAGE, of_base_image)
    return session, trial
