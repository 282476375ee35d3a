from django.contrib import admin
from django.http import HttpRequest

from study.analysis.models import Analysis


@admin.register(Analysis)
class AnalysisAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Reports are made by `analyze_study`; here they are looked up."""

    list_display = ("study", "population", "exploratory", "created_at", "data", "code_version", "report_path")
    list_filter = ("study", "population", "exploratory")
    list_select_related = ("study",)
    date_hierarchy = "created_at"

    @admin.display(description="data")
    def data(self, analysis: Analysis) -> str:
        return analysis.data_sha256[:12]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Analysis | None = None) -> bool:
        return False
