"""The WSGI entry point."""

import logging
import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "study.settings")
logging.captureWarnings(True)  # so that they are written as everything else is

application = get_wsgi_application()
