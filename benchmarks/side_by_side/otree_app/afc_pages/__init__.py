"""A page for each trial: which of two images is altered?"""

import os

from otree.api import BaseConstants, BaseGroup, BasePlayer, BaseSubsession, Page, models


class C(BaseConstants):
    NAME_IN_URL = "afc"
    PLAYERS_PER_GROUP = None
    NUM_ROUNDS = int(os.environ.get("BENCH_TRIALS", "30"))


class Subsession(BaseSubsession):
    pass


class Group(BaseGroup):
    pass


class Player(BasePlayer):
    choice = models.StringField(choices=["left", "right"])
    rt_ms = models.FloatField()
    correct = models.BooleanField()


class Trial(Page):
    form_model = "player"
    form_fields = ["choice", "rt_ms"]

    @staticmethod
    def before_next_page(player: Player, timeout_happened: bool) -> None:
        player.correct = player.choice == ("left", "right")[player.round_number % 2]


page_sequence = [Trial]
