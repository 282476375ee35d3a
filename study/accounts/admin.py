"""Researchers, their groups, and the log of what they did."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.utils import quote
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.loader import render_to_string
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.views.decorators.http import require_POST
from django_otp.plugins.otp_static.admin import StaticDevice
from django_otp.plugins.otp_totp.admin import TOTPDevice

from study.accounts import audit, deletion, devices
from study.accounts.audit import AuditedAdmin
from study.accounts.forms import NewResearcherForm, ResearcherForm
from study.accounts.models import AuditEntry, User

#: Of the parts that an entry is about, the list names so many.
PARTS_NAMED = 5

# Groups come back below. Whoever could look at the secret of a second factor would have it.
admin.site.unregister([Group, TOTPDevice, StaticDevice])


@admin.register(User)
class ResearcherAdmin(AuditedAdmin, UserAdmin):  # type: ignore[type-arg]
    """Rights of an account's own, beside its groups', are not offered: groups say who may what, at a glance."""

    form = ResearcherForm
    add_form = NewResearcherForm
    add_form_template = "admin/change_form.html"
    readonly_fields = ("last_login", "date_joined")
    filter_horizontal = ()
    fieldsets = (
        (None, {"fields": ("username", "password", "last_login", "date_joined")}),
        ("Person", {"fields": ("first_name", "last_name", "email")}),
        ("What it opens", {"fields": ("is_active", "is_staff", "groups", "is_superuser")}),
    )
    add_fieldsets = (
        (
            None,
            {"fields": ("username", "password1", "password2", "is_staff", "groups")},
        ),
    )
    list_display = ("username", "first_name", "last_name", "is_active", "is_staff", "is_superuser", "second_factor")
    actions = ("remove_second_factor",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        apps_set_up = TOTPDevice.objects.filter(user=OuterRef("pk"), confirmed=True)
        researchers: QuerySet[User] = super().get_queryset(request).annotate(has_app=Exists(apps_set_up))
        return researchers

    @admin.display(boolean=True, description="two-factor")
    def second_factor(self, user: Any) -> bool:
        return bool(user.has_app)

    @admin.action(description="Remove the second factor, of those who lost phone and recovery codes")
    def remove_second_factor(self, request: HttpRequest, researchers: QuerySet[User]) -> None:
        if not request.user.is_superuser:
            raise PermissionDenied
        for user in researchers:
            with transaction.atomic():
                audit.record("removed the second factor of", user)
                devices.remove(user)
            self.message_user(request, f"{user} signs in by password alone from now on.", messages.SUCCESS)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """With what stands in the way: then there is no button, and what is sent all the same deletes nothing."""
        *found, protected = super().get_deleted_objects(objs, request)
        return (*found, [*protected, *deletion.obstacles(objs)])

    def user_change_password(self, request: HttpRequest, id: str, form_url: str = "") -> HttpResponse:
        with transaction.atomic():
            return super().user_change_password(request, id, form_url)

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> None:  # type: ignore[override]
        """Also called when a password was set on its own page, which saves no other field."""
        if hasattr(obj, "audited"):
            super().log_change(request, obj, message)
        else:
            audit.record("set the password of", obj)


@admin.register(Group)
class ResearcherGroupAdmin(AuditedAdmin, GroupAdmin):
    pass


@admin.register(AuditEntry)
class AuditLogAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """For looking at: whoever may see the log can also have it verified, and nobody can do anything else."""

    change_list_template = "accounts/audit_log.html"
    change_form_template = "accounts/audit_entry.html"
    list_display = ("n", "time", "actor", "action", "subject", "changed")
    list_display_links = ("n", "time")
    list_filter = ("action",)
    search_fields = ("actor", "action", "subject")
    date_hierarchy = "at"
    actions = None
    show_full_result_count = False
    fields = readonly_fields = ("time", "actor", "action", "about", "difference", "own_hash", "hash_before")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: AuditEntry | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: AuditEntry | None = None) -> bool:
        return False

    def get_urls(self) -> list[URLPattern]:
        verify = self.admin_site.admin_view(require_POST(self.verify))
        return [path("verify/", verify, name="accounts_auditentry_verify"), *super().get_urls()]

    def verify(self, request: HttpRequest) -> HttpResponse:
        """Read the whole log; the result is shown above the list."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        report = AuditEntry.objects.report()
        level = messages.SUCCESS if report.whole else messages.ERROR
        self.message_user(request, f"{timezone.now():%Y-%m-%d %H:%M:%S} UTC: {report}", level)
        return HttpResponseRedirect(reverse("admin:accounts_auditentry_changelist"))

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        return super().changelist_view(request, {"title": "Audit log", **(extra_context or {})})

    @admin.display(description="time (UTC)", ordering="n")
    def time(self, entry: AuditEntry) -> str:
        return f"{entry.at:%Y-%m-%d %H:%M:%S}"

    @admin.display(description="hash")
    def own_hash(self, entry: AuditEntry) -> str:
        return format_html('<span class="hash">{}</span>', entry.sha256)

    @admin.display(description="hash of the entry before")
    def hash_before(self, entry: AuditEntry) -> str:
        return format_html('<span class="hash">{}</span>', entry.previous) if entry.previous else "this is the first"

    @admin.display(description="what")
    def changed(self, entry: AuditEntry) -> str:
        names = [part.name for part in entry.difference()]
        more = [f"and {len(names) - PARTS_NAMED} more"] if len(names) > PARTS_NAMED else []
        return ", ".join([*names[:PARTS_NAMED], *more])

    @admin.display(description="subject")
    def about(self, entry: AuditEntry) -> str:
        address = page_of(entry.subject)
        return format_html('<a href="{}">{}</a>', address, entry.subject) if address else entry.subject

    @admin.display(description="before and after")
    def difference(self, entry: AuditEntry) -> str:
        return render_to_string("accounts/difference.html", {"entry": entry}) or "nothing to compare"


def page_of(subject: str) -> str:
    """The address of the row's page in the admin, by the name that the log has for it; empty when there is none."""
    kind, _, key = subject.split(": ", maxsplit=1)[0].rpartition(" ")
    for model in admin.site._registry:
        if model._meta.verbose_name == kind:
            return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_change", args=[quote(key)])
    return ""
