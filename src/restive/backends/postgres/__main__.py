"""``python -m restive.backends.postgres [schema]`` prints the SQL that makes the tables and functions."""

from __future__ import annotations

import sys

from .location import SCHEMA, check_schema
from .schema import statements

sys.stdout.write(statements(check_schema((sys.argv[1:] or [SCHEMA])[0])))
