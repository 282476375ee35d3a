"""`{{ text|prose }}` and `{{ text|prose:3 }}`: a researcher's text, its highest heading of level 2 or 3."""

from __future__ import annotations

from django import template
from django.utils.safestring import SafeString

from study.trials.prose import render

register = template.Library()


@register.filter(is_safe=True)
def prose(text: str, top: int = 2) -> SafeString:
    return render(text, top)
