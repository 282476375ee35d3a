"""Statements that are written out, as everybody makes them hundreds of times: their columns, their rows, their cursor.

To compose a query anew takes the ORM several times as long as the database needs to answer it (docs/benchmarks.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from itertools import islice
from typing import Any

from django.db import connection, models, transaction
from django.db.models.expressions import Col


def listed(alias: str, columns: Sequence[str]) -> str:
    """For SELECT: these columns of the table that goes by this alias."""
    return ", ".join(f'{alias}."{name}"' for name in columns)


def in_parts(row: Sequence[Any], *columns: Sequence[str]) -> list[tuple[Any, ...]]:
    """The row's values, those of each table apart."""
    values = iter(row)
    return [tuple(islice(values, len(names))) for names in columns]


def instance(model: type[models.Model], columns: tuple[str, ...], values: Sequence[Any]) -> Any:
    """A row as the ORM would have made it."""
    converted = [
        _convert(value, converters) for value, converters in zip(values, _converters(model, columns), strict=True)
    ]
    return model.from_db(connection.alias, columns, converted)


def _convert(value: Any, converters: tuple[tuple[Any, Col], ...]) -> Any:
    for converter, column in converters:
        value = converter(value, column, connection)
    return value


@cache
def _converters(model: type[models.Model], columns: tuple[str, ...]) -> tuple[tuple[tuple[Any, Col], ...], ...]:
    """What the ORM does to the values of these columns, each with the expression that it wants to be told."""
    fields = {field.attname: field for field in model._meta.concrete_fields}
    found = []
    for name in columns:
        column = fields[name].get_col(model._meta.db_table)
        by_backend = connection.ops.get_db_converters(column)
        found.append(tuple((converter, column) for converter in (*by_backend, *column.get_db_converters(connection))))
    return tuple(found)


def insert_many(model: type[models.Model], columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Insert all of these rows or none: values in the order of the columns, JSON as text. Raises IntegrityError.

    `bulk_create` composes a statement with a place for every value, which takes several times as long.
    """
    names, places = ", ".join(f'"{name}"' for name in columns), ", ".join("%s" for _ in columns)
    with transaction.atomic(savepoint=False), connection.cursor() as cursor:
        if connection.vendor != "postgresql":
            cursor.executemany(f"INSERT INTO {model._meta.db_table} ({names}) VALUES ({places})", list(rows))  # noqa: S608
            return
        with connection.wrap_database_errors, cursor.copy(f"COPY {model._meta.db_table} ({names}) FROM STDIN") as table:
            for row in rows:
                table.write_row(row)


def prepared_cursor() -> Any:
    """A cursor whose statements are prepared by the server after a few times; the ORM's are sent as text each time."""
    if connection.vendor != "postgresql" or connection.queries_logged:  # a log shows no prepared statements
        return connection.cursor()
    from django.db.backends.postgresql import base

    connection.ensure_connection()
    cursor: Any = base.ServerBindingCursor
    return connection.make_cursor(cursor(connection.connection))
