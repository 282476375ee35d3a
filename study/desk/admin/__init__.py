"""The researcher's admin of what reaches across the apps. What workers make is in study.lab.admin."""

from study.desk.admin import reports, sessions, studies

__all__ = ["reports", "sessions", "studies"]
