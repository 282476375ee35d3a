"""The participants' addresses."""

from django.urls import path, register_converter
from django.urls.converters import StringConverter

from study.trials import api, views


class SideConverter(StringConverter):
    regex = "left|right"


class IndexConverter:
    """Trials are counted in at most four digits; anything longer is no trial."""

    regex = "[0-9]{1,4}"

    def to_python(self, value: str) -> int:
        return int(value)

    def to_url(self, value: int) -> str:
        return str(value)


register_converter(SideConverter, "side")
register_converter(IndexConverter, "index")

app_name = "trials"
urlpatterns = [
    path("s/<slug:slug>/", views.information, name="information"),
    path("s/<slug:slug>/start", views.start, name="start"),
    path("run/<str:token>/", views.run, name="run"),
    path("run/<str:token>/truth/<index:index>", views.truth, name="truth"),
    path("run/<str:token>/plan", api.plan, name="plan"),
    path("run/<str:token>/i/<index:index>/<side:side>", api.image, name="image"),
    path("run/<str:token>/i/<index:index>/<side:side>/<index:number>", api.image, name="numbered_image"),
    path("run/<str:token>/screen", api.screen, name="screen"),
    path("run/<str:token>/screen-out", api.screen_out, name="screen_out"),
    path("run/<str:token>/debrief/<index:number>", api.example, name="example"),
    path("run/<str:token>/trials/<index:index>", api.answer, name="answer"),
    path("run/<str:token>/complete", api.complete, name="complete"),
    path("run/<str:token>/withdraw", api.withdraw, name="withdraw"),
]
