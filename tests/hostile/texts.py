"""Files of text that are no table to learn from."""

from __future__ import annotations

from tests.hostile.files import HEADER, archive, changed, csv, good, labels, parquet, text

_CYRILLIC = [HEADER, *(f"d{n},{n}.5,Москва,{n % 2}" for n in range(30))]
_BINARY = bytes(range(1, 256)) * 40
_PARQUET = parquet({"day": ["a", "b"], "late": [0, 1]})

TEXTS = [
    csv("empty", b"", " is empty, expected a header and rows."),
    csv("blank lines alone", b"\n \n\n", " is empty, expected a header and rows."),
    csv("a header alone", text([HEADER]), " has a header and no rows. Expected rows below it."),
    csv(
        "no header",
        text(good()[1:]),
        ": the first row (d0, 0.5, Ulm, 0) looks like data, expected the names of the columns. "
        "Write a header above it.",
    ),
    csv(
        "numbers and no header",
        text([f"{n * 3},{n},{n % 2}" for n in range(7, 60)]),
        ": the first row (21, 7, 1) looks like data, expected the names of the columns. Write a "
        "header above it.",
    ),
    csv(
        "a title above the header",
        text(["Flights of 2013", *good()]),
        ", row 1: 'Flights of 2013' stands alone, and most rows below have 4 values. The first row "
        "must be the header: remove what stands above it.",
    ),
    csv(
        "one column",
        text(["late", *("01" * 40)]),
        " has one column, 'late', and a table for learning needs two: what is to be predicted, and "
        "what from. Expected values separated by a comma, a semicolon, a tab or a bar; say "
        "--delimiter if it is another.",
    ),
    csv(
        "blanks as delimiter",
        text([line.replace(",", " ") for line in good()]),
        " has one column, 'day temp town late', and a table for learning needs two: what is to be "
        "predicted, and what from. Its values seem to be separated by blanks: write commas in "
        "their place. Expected values separated by a comma, a semicolon, a tab or a bar; say "
        "--delimiter if it is another.",
    ),
    csv(
        "another delimiter than said",
        text(good()),
        " has one column, 'day,temp,town,late', and a table for learning needs two: what is to be "
        "predicted, and what from. Expected values separated by a comma, a semicolon, a tab or a "
        "bar; say --delimiter if it is another.",
        "--delimiter",
        ";",
    ),
    csv(
        "a column twice",
        text(good(header="day,temp,temp,late")),
        " has the column 'temp' 2 times, expected once. Rename or remove the others.",
    ),
    csv(
        "columns without names",
        text(good(header=",,,")),
        ": the header names no column. Write a name above each column.",
    ),
    csv(
        "rows that end with the delimiter",
        text([HEADER, *(f"{line}," for line in good()[1:])]),
        ": the header names 4 columns, and the rows have 5 values. Each ends with the delimiter "
        "(','): let the header do so as well, or remove it.",
    ),
    csv(
        "fewer names than values",
        text(good(header="day,temp,late")),
        ": the header names 3 columns, and the rows have 4 values. Name each column once, and no "
        "more.",
    ),
    csv(
        "a short row",
        changed(5, "d3,1.5,Ulm"),
        ", row 5: 3 values, expected 4 as in the header. Mend the row: quote values that hold the "
        "delimiter, and close every quote.",
    ),
    csv(
        "a long row",
        changed(50, "d3,1.5,Ulm, Danube,1"),
        ", row 50: 5 values, expected 4 as in the header. Mend the row: quote values that hold the "
        "delimiter, and close every quote.",
    ),
    csv(
        "a quote that is never closed",
        changed(100, 'd3,1.5,"Ulm,1'),
        ' ends inside a quoted value, at row 100: the file is cut short, or a quote (") before was '
        "never closed. Mend the file, or set data.csv.quote (--quote of init) to the character "
        "that quotes values.",
    ),
    csv(
        "a NUL byte",
        changed(70, "d3,1.5,U\0m,1"),
        ", line 70: a NUL byte, so this is no text file, or a damaged one. Expected CSV or "
        "Parquet; mend the file, or export it again.",
    ),
    csv(
        "no text",
        _BINARY,
        " is no text: it holds control characters. Expected CSV or Parquet; export it again.",
    ),
    csv(
        "an alphabet of eight bits",
        text(_CYRILLIC, "cp1251"),
        ", line 2: byte 0xCC is not UTF-8, and the text is none of Western Europe. Say --encoding, "
        "such as cp1251, gbk, shift_jis or cp1250, or save the file as UTF-8.",
    ),
    csv(
        "another encoding than said",
        text([HEADER, *(f"d{n},{n}.5,Köln,{n % 2}" for n in range(30))], "cp1252"),
        ", row 2, column 'town': 'K�ln', expected text in utf-8. Say --encoding as the file was "
        "written.",
        "--encoding",
        "utf-8",
    ),
    csv(
        "cut within a letter",
        text(_CYRILLIC)[:-4],
        " ends within a letter of UTF-8: it is cut short. Export it again.",
    ),
    csv(
        "an encoding that is none",
        text(good()),
        "data.csv.encoding: there is no encoding 'utf-9'; expected one such as utf-8, latin-1, "
        "cp1252 or utf-16.",
        "--encoding",
        "utf-9",
    ),
    csv(
        "a workbook with another name",
        archive("xl/workbook.xml"),
        " is a ZIP archive, or a workbook of Excel, which is one: unpack it, or save the sheet as "
        "CSV.",
    ),
    csv(
        "the page of an error",
        b"<!DOCTYPE html>\n<html><body>Not found</body></html>\n",
        " is a web page or XML, expected CSV or Parquet: it may be the page of an error that was "
        "saved in the place of the data. Download it again.",
    ),
    csv(
        "Parquet with another name",
        _PARQUET,
        " is a Parquet file: end its name in .parquet, or say --format parquet.",
    ),
    csv(
        "a label that is not there",
        text(good()),
        "--label lat: there is no such column; did you mean late? The columns are: day, temp, "
        "town, "
        "late",
        "--label",
        "lat",
    ),
    csv(
        "all labels the same",
        labels(["1"] * 100),
        "--label late: all 100 rows have the same value, '1'; there is nothing to learn. Name "
        "another "
        "column, or add rows with other values",
    ),
    csv(
        "no label at all",
        labels([""] * 100),
        "--label late: the column has no value in any of the 100 rows",
    ),
    csv(
        "too few rows",
        text(good(6)),
        "6 rows have a label 'late'; expected 50 or more: fewer teach nothing that could be "
        "checked. "
        "Gather more rows",
    ),
    csv(
        "a rare class",
        labels(["0"] * 99 + ["1"]),
        "--label late: too few rows of a class: '1' has 1; expected 8 or more. Gather more rows of "
        "it, or put it together with another in the data",
    ),
    csv(
        "a name as label",
        labels([f"n{n}" for n in range(200)]),
        "--label late: 200 different values are too many classes; expected 100 at most. Is it an "
        "identifier or a text? Name another column, or name the values that count: --classes a,b,c",
    ),
    csv(
        "nothing to learn from",
        text(["day,late", *(f"d,{n % 2}" for n in range(200))]),
        "no column is left to predict from (day: constant, d in every row that has one). Add "
        "columns "
        "that are known before the label is, or say by --numeric, --categorical, --date or --text "
        "what a column is",
    ),
]
