"""Figures as the benchmarks give them, made up."""

from typing import Any


def cost(wall: float, cpu: float, peak_mb: int) -> dict[str, float]:
    return {"wall": wall, "cpu": cpu, "peak_mb": peak_mb}


def ingest(rows_per_second: int = 40_000) -> dict[str, Any]:
    ours = {"seconds": 3.0, "cpu_seconds": 3.0, "rows_per_second": rows_per_second, "peak_mb": 600}
    theirs = {"seconds": 30.0, "cpu_seconds": 31.0, "rows_per_second": 4000, "peak_mb": 700}
    return {"rows": 120_000, "TabularExampleGen": ours, "CsvExampleGen": theirs}


def components() -> dict[str, Any]:
    def measured(component: str, rows: int, tfx: float, ours: float) -> dict[str, Any]:
        return {
            "component": component,
            "rows": rows,
            "tfx": {"wall": tfx, "cpu": tfx / 2},
            "ours": {"wall": ours, "cpu": ours},
        }

    return {
        "rounds": 2,
        "warm_up_rows": 2000,
        "measured": [
            measured("StatisticsGen", 15_000, 5.0, 0.5),
            measured("StatisticsGen", 150_000, 30.0, 4.0),
            measured("Transform", 15_000, 20.0, 4.0),
            measured("Evaluator", 15_000, 12.0, 1.0),
        ],
    }


def analyzer_cache() -> dict[str, Any]:
    def side(analysis: float, node: float) -> dict[str, float]:
        return {"analysis": analysis, "node": node}

    return {
        "rounds": 2,
        "measured": [{"window": 3, "without": side(4.0, 8.0), "with": side(2.0, 6.0)}],
    }


def training() -> dict[str, Any]:
    return {
        "rounds": 3,
        "batch_size": 40,
        "steps_per_execution": 64,
        "template": {"steps": 1000, "seconds": 4.0, "drawn": 1000, "draw_seconds": 1.0},
        "ours": {"steps": 1004, "seconds": 1.004, "drawn": 1004, "draw_seconds": 0.1004},
    }


def taxi() -> dict[str, Any]:
    both = {"template": cost(60.0, 58.0, 1240), "ours": cost(30.0, 40.5, 1000)}
    cached = {"template": cost(12.0, 11.0, 700), "ours": cost(6.0, 5.5, 500)}
    return {
        "rows": 15_002,
        "runs": 2,
        "cores": 2,
        "scenarios": {"first": both, "second": both, "unchanged": cached, "edit": both},
        "components": {
            "template": {"CsvExampleGen": 5.0, "Trainer": 13.7, "rest": 13.1},
            "ours": {"ExampleGen": 0.3, "Trainer.keras": 6.6, "DataGate": 0.1, "rest": 5.0},
        },
        "pushed": {"template": 1, "ours": 1},
        "accuracy": {"template": 0.7743, "ours": 0.7797},
        "steps": {"template": 1000, "ours": 1004},
        "template_steps_per_second": 250,
        "utilisation": 0.75,
    }


def growth() -> dict[str, Any]:
    nodes = {"ExampleGen": {"seconds": 0.5, "peak_mb": 300}, "Trainer.keras": {"seconds": 9.0}}
    return {
        "settings": [],
        "sizes": {
            "15000": {**cost(30.0, 40.0, 1000), "nodes": nodes},
            "150000": {**cost(60.0, 90.0, 1100), "nodes": nodes},
            "1500000": {**cost(300.0, 500.0, 1500), "nodes": nodes},
            "5000000": {"error": "ExampleGen failed", "nodes": {}},
        },
    }


def startup() -> dict[str, Any]:
    return {
        "rounds": 5,
        "commands": {
            "local_runner.py --help": cost(0.1, 0.1, 20),
            "python -m pipeline lineage": {"error": "invalid choice: 'lineage'"},
            "tfx --help": cost(5.0, 5.0, 500),
        },
    }


def frameworks() -> dict[str, Any]:
    asked = {
        "load_seconds": 0.4,
        "one_p50_ms": 1.5,
        "one_p99_ms": 2.5,
        "many_p50_ms": 9.0,
        "many_p99_ms": 12.0,
        "rows_per_second": 150_000.4,
    }
    return {
        "rounds": 2,
        "runs": {
            "keras": {"frameworks": ["keras"], **cost(40.0, 50.0, 1000)},
            "three": {"frameworks": ["keras", "sklearn", "xgboost"], **cost(60.0, 90.0, 1500)},
        },
        "predictions": {"keras": asked, "xgboost": asked, "ensemble": asked},
    }


def predict() -> dict[str, Any]:
    one = {"seconds": 4.0, "cpu_seconds": 8.0, "peak_mb": 900}
    names = ("copy", "keras", "sklearn", "xgboost")
    return {"rows": 1_000_000, "rounds": 3, "cores": 2, "frameworks": dict.fromkeys(names, one)}


def node_start() -> dict[str, Any]:
    def start(seconds: float, *imported: str) -> dict[str, Any]:
        part = 3.0 if "tensorflow" in imported else 0.0
        facts = {"cpu": seconds, "tensorflow_seconds": part, "imported": list(imported)}
        return {"seconds": seconds, **facts}

    return {
        "rounds": 3,
        "imports": {"tfx.v1": start(10.0), "tensorflow": start(3.0)},
        "nodes": [
            {"nodes": ["Window"], "executor": False, "ours": start(0.5)},
            {
                "nodes": ["Trainer.keras", "Trainer.sklearn"],
                "executor": True,
                "ours": start(4.0, "tensorflow", "apache_beam"),
                "tfx": start(11.0, "tensorflow", "apache_beam", "kfp"),
            },
            {
                "nodes": ["Pusher"],
                "executor": True,
                "ours": start(0.8),
                "tfx_error": "no such executor",
            },
        ],
    }


def orchestrators() -> dict[str, Any]:
    return {
        "rounds": 2,
        "orchestrators": {
            "local": {"tasks": 17, "task": 0.5, "before": 3.0, "run": 11.5},
            "containers": {"tasks": 20, "task": 2.0, "before": 0.1, "run": 40.1},
            "airflow-3": {"tasks": 20, "task": 3.5, "before": 2.0, "run": 72.0},
        },
    }


def lineage() -> dict[str, Any]:
    def asked(seconds: float, answer: int) -> dict[str, Any]:
        return {"live model": {"seconds": seconds, "answer": answer}}

    def command(wall: float, *imported: str) -> dict[str, Any]:
        return {"wall": wall, "cpu": wall, "imported": list(imported)}

    return {
        "rounds": 3,
        "databases": {"sqlite": {"10000": asked(0.02, 40), "100": asked(0.001, 10)}},
        "missing": {"MariaDB": "mariadbd is not installed"},
        "commands": {
            "python -c pass": command(0.02),
            "runs": command(0.4),
            "live": command(0.5, "tensorflow"),
        },
    }


def year(policy: float = 0.505, trainings: int = 2, candidate: float = 0.71) -> dict[str, Any]:
    """Two rules over four months: log losses, how often the policy trained, and an AUC judged."""

    def scores(auc: float, log_loss: float) -> dict[str, float]:
        return {"auc": auc, "log_loss": log_loss, "calibration": 0.9}

    def month(number: int, log_loss: float, *, trained: bool) -> dict[str, Any]:
        before = {"month": number, "rows": 27_000, "scores": scores(0.7, log_loss)}
        if not trained:
            return {**before, "trained": False, "pushed": False}
        judged = {"candidate": scores(candidate, 0.5), "live": scores(0.7, 0.51)}
        after = {"pushed": scores(0.71, 0.52), "replaced": scores(0.7, 0.51)}
        spent = {"trained": True, "pushed": True, "seconds": 30.0}
        return {**before, **spent, "judged": judged, "next": after}

    def rule(title: str, log_loss: float, trained: int) -> dict[str, Any]:
        months = [month(4 + n, log_loss, trained=n < trained) for n in range(4)]
        return {"title": title, "months": months}

    return {
        "framework": "xgboost",
        "seconds": 600,
        "first_seconds": 30.0,
        "rules": {
            "frozen": rule("frozen", 0.52, 0),
            "expanding": rule("each month", 0.5, 4),
            "policy": rule("the policy", policy, trainings - 1),
        },
    }


def datasets() -> dict[str, Any]:
    """A set whose champion is good enough, one whose is not, and one that failed."""
    one = {
        "problem": "multiclass",
        "rows": 178,
        "columns": 14,
        "kinds": "13 numeric",
        "judged_on": "all rows",
        "metric": "macro_f1",
        "champion": "sklearn",
        "reason": "sklearn is the best",
        "candidates": {"sklearn": 0.975},
        "ours": 0.975,
        "reference": 0.983,
        "behind": 0.008,
        "init_seconds": 2.0,
        "run_seconds": 40.5,
    }
    errors = {"metric": "rmse", "ours": 58.2, "reference": 55.0, "behind": 0.058}
    return {
        "trials": 40,
        "sets": {
            "wine": one,
            "diabetes": one | errors | {"problem": "regression"},
            "cars": {"failure": "Preflight failed: no rows"},
        },
    }
