"""An oTree project with the trials of a study, once as pages and once by its live_method."""

import os

SESSION_CONFIGS = [
    {"name": "pages", "app_sequence": ["afc_pages"], "num_demo_participants": 1},
    {"name": "live", "app_sequence": ["afc_live"], "num_demo_participants": 1},
]
SESSION_CONFIG_DEFAULTS = {"real_world_currency_per_point": 1.0, "participation_fee": 0.0}
LANGUAGE_CODE = "en"
REAL_WORLD_CURRENCY_CODE = "EUR"
USE_POINTS = False
ADMIN_USERNAME = "admin"
ADMIN_PASSWORD = os.environ.get("OTREE_ADMIN_PASSWORD")
SECRET_KEY = os.environ.get("OTREE_SECRET_KEY", "of a bench")
