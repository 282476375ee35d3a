"""The tasks that a network can be trained for (`models.recipe.Recipe.task`), in words."""

from typing import Final

TASKS: Final = {"regression": "gaze regression", "zones": "zone classification"}
USUAL_TASK: Final = TASKS["regression"]
