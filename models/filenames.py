"""Names of files in the folders that models and imported data sets are kept in, for programs that do not load torch."""

WEIGHTS_NAME = "weights.safetensors"
CARD_NAME = "card.json"
MANIFEST = "manifest.json"
CONTACT_SHEET = "contact_sheet.png"
