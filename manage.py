#!/usr/bin/env python
"""Blindspot's command line: `python manage.py help` lists the commands."""

import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "study.settings")
    try:
        from django.core.management import execute_from_command_line

        from study import places

        places.keep_private()
        execute_from_command_line(sys.argv)
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        sys.exit(130)
    except Exception as error:  # noqa: BLE001 (bugs are raised again)
        sys.exit(_sentence_instead_of_traceback(error))


def _sentence_instead_of_traceback(error: Exception) -> str:
    """What is wrong with settings, database or files. Raises bugs again, and all that is being looked into."""
    import environ

    from study.sentences import sentence_of

    sentence = sentence_of(error)
    if sentence is None or "--traceback" in sys.argv or environ.Env().bool("DEBUG", default=False):
        raise error
    return sentence


if __name__ == "__main__":
    main()
