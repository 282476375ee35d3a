"""30 trials on one page, each answer sent and acknowledged by oTree's live_method."""

from otree.api import BaseConstants, BaseGroup, BasePlayer, BaseSubsession, ExtraModel, Page, models


class C(BaseConstants):
    NAME_IN_URL = "afc_live"
    PLAYERS_PER_GROUP = None
    NUM_ROUNDS = 1
    TRIALS = 30


class Subsession(BaseSubsession):
    pass


class Group(BaseGroup):
    pass


class Player(BasePlayer):
    answered = models.IntegerField(initial=0)


class Answer(ExtraModel):
    player = models.Link(Player)
    trial = models.IntegerField()
    choice = models.StringField()
    rt_ms = models.FloatField()
    correct = models.BooleanField()


class Trial(Page):
    @staticmethod
    def live_method(player: Player, data: dict) -> dict:
        """Store one answer, once, and acknowledge it."""
        index = data["index"]
        if not Answer.filter(player=player, trial=index):
            correct = data["choice"] == ("left", "right")[index % 2]
            Answer.create(player=player, trial=index, choice=data["choice"], rt_ms=data["rt_ms"], correct=correct)
            player.answered += 1
        return {player.id_in_group: {"stored": index, "next_index": index + 1}}


page_sequence = [Trial]
