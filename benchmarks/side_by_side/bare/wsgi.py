"""The bare view under a WSGI server."""

import os

from django.core.wsgi import get_wsgi_application

os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.side_by_side.bare.settings"
application = get_wsgi_application()
