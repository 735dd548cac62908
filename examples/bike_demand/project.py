"""Bikes rented per hour in Washington DC: learn from 2011, then meet 2012 (Fanaee-T and Gama, 2013).

Demand grew by two thirds from one year to the next, so a model of 2011 falls behind and has to be retrained.
"""

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingRegressor

import fullcircle as fc


def in_units(hours):
    """Times as times, the weather by name, and in °C, % and km/h instead of shares of a maximum."""
    return hours.assign(
        started_at=pd.to_datetime(hours["dteday"]) + pd.to_timedelta(hours["hr"], unit="h"),
        weathersit=hours["weathersit"].map({1: "clear", 2: "mist", 3: "rain", 4: "storm"}).astype("category"),
        temp=hours["temp"] * 41,
        hum=hours["hum"] * 100,
        windspeed=hours["windspeed"] * 67,
    )


def set_aside(hours):
    """One hour in ten, always the same ones, is never learned from."""
    return np.random.default_rng(0).random(len(hours)) < 0.1


def learned(hours):
    return in_units(hours)[~set_aside(hours)]


def held_out(hours):
    return in_units(hours)[set_aside(hours)]


def in_fahrenheit(hours):
    return held_out(hours).assign(temp=lambda rows: rows["temp"] * 9 / 5 + 32)


def table(prepare, since, until):
    hint = "get hour.csv (README.md beside this file says where), then: export BIKE_HOUR=/path/to/hour.csv"
    return fc.Table("${BIKE_HOUR}", time="started_at", prepare=prepare, since=since, until=until, hint=hint)


def fit(X, y):
    return HistGradientBoostingRegressor(categorical_features="from_dtype", random_state=0).fit(X, y)


def profit(actual, predicted):
    """Dollars an hour: a ride with a bike at hand earns 3, a bike put out for nobody costs 1."""
    return 3 * np.minimum(actual, predicted) - np.maximum(predicted - actual, 0)


project = fc.Project(
    name="bike-demand",
    data=table(learned, "2011-01-01", "2012-01-01"),
    history=table(in_units, "2011-01-01", "2013-01-01"),
    label="cnt",
    label_delay="1d",
    features=["hr", "workingday", "weathersit", "temp", "hum", "windspeed"],
    fit=fit,
    inputs=fc.Inputs(columns={"temp": {"unit": "°C"}, "windspeed": {"unit": "km/h", "missing": "impute"}}),
    gates=[
        fc.at_most("mae", 120),  # in any season of both years; guessing the mean is wrong by 173 in 2012
        fc.beats("champion"),
        fc.fair(by="workingday", metric="mae", gap=60),
        fc.worth(per_row=profit, at_least=150),
        fc.latency(p99="500ms"),  # generous: a busy laptop is no reason to hold it
        fc.size("20MB"),
    ],
    currency="USD",
    monitor=fc.Monitor(false_alerts="1 per year", window="7d"),
    arrivals={
        # The last quarter of 2011 is what the report looks at, so its held-out hours should look the same.
        "a hold-out of 2011": table(held_out, "2011-10-03", "2012-01-01"),
        "temperature in Fahrenheit": table(in_fahrenheit, "2011-10-03", "2012-01-01"),
        "2012": table(in_units, "2012-01-01", "2012-07-01"),
    },
)
