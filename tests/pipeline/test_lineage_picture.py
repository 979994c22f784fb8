"""Pictures of runs and of lineage: where their boxes are, what they say, who joins whom."""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path
from random import Random
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import lineage
from pipeline.__main__ import main
from pipeline.config import PROJECT
from pipeline.errors import UserError
from pipeline.lineage.drawing import Box, Picture, drawn, headline
from pipeline.lineage.layout import Edge, Layout, layered
from tests.pipeline.written_store import CACHED, FAILED, INTERNAL_OUTPUT, RUNNING, Writer

SVG = "{http://www.w3.org/2000/svg}"
Graph = tuple[dict[str, tuple[float, float]], list[Edge]]


@st.composite
def graphs(draw: st.DrawFn, *, most: int = 60, cycles: bool = False) -> Graph:
    names = [f"n{i}" for i in range(draw(st.integers(0, most)))]
    size = st.tuples(st.floats(10, 200), st.floats(10, 120))
    sizes = {name: draw(size) for name in names}
    # By a seed, since lists that are drawn are short, and most graphs then have few edges.
    chance = Random(draw(st.integers(0, 2**32)))
    dense = draw(st.floats(0, 0.4))
    pairs = itertools.permutations(names, 2) if cycles else itertools.combinations(names, 2)
    return sizes, [pair for pair in pairs if chance.random() < dense]


def place(graph: Graph) -> Layout:
    return layered(*graph, across=28, down=14)


def reach(edges: Collection[Edge]) -> set[Edge]:
    """The pairs of whom a way leads from the one to the other."""
    found = set(edges)
    while more := {(a, d) for a, b in found for c, d in edges if b == c} - found:
        found |= more
    return found


@settings(max_examples=60, deadline=None)
@given(graphs(cycles=True))
def test_boxes_lie_apart_and_within_the_frame_and_edges_go_forward(graph: Graph) -> None:
    layout = place(graph)
    boxes = layout.boxes
    assert boxes.keys() == graph[0].keys()
    for box in boxes.values():
        assert box.left >= 0
        assert box.top >= -1e-6
        assert box.left + box.width <= layout.width + 1e-6
        assert box.top + box.height <= layout.height + 1e-6
    for one, other in itertools.combinations(boxes.values(), 2):
        beside = one.left + one.width < other.left or other.left + other.width < one.left
        apart = abs(one.top + one.height / 2 - other.top - other.height / 2)
        assert beside or apart >= (one.height + other.height) / 2 + 14 - 1e-6
    for (a, b), route in layout.routes.items():
        assert boxes[a].left + boxes[a].width < boxes[b].left
        assert [x for x, _ in route] == sorted(x for x, _ in route)
        ends = boxes[a].left + boxes[a].width, boxes[b].left
        assert (route[0][0], route[-1][0]) == pytest.approx(ends)


@settings(max_examples=40, deadline=None)
@given(graphs(most=25))
def test_an_edge_passes_no_box(graph: Graph) -> None:
    layout = place(graph)
    for route in layout.routes.values():
        assert len(route) % 2 == 0
        for (enters, y), (leaves, same) in zip(route[1:-1:2], route[2:-1:2], strict=True):
            assert y == same
            for box in layout.boxes.values():
                if box.left == enters:
                    assert enters + box.width == pytest.approx(leaves)
                    assert not box.top <= y <= box.top + box.height


@settings(max_examples=40, deadline=None)
@given(graphs(most=15))
def test_only_edges_that_others_imply_are_left_out(graph: Graph) -> None:
    routes = place(graph).routes.keys()
    assert reach(routes) == reach(graph[1])
    assert all(edge not in reach(routes - {edge}) for edge in routes)


@settings(max_examples=20, deadline=None)
@given(graphs())
def test_the_same_graph_is_placed_the_same(graph: Graph) -> None:
    assert place(graph) == place((graph[0], list(graph[1])))


def test_a_cycle_is_opened_before_its_first_node() -> None:
    sizes = dict.fromkeys("abc", (10.0, 10.0))
    layout = place((sizes, [("a", "b"), ("b", "c"), ("c", "a"), ("b", "b")]))
    assert list(layout.routes) == [("a", "b"), ("b", "c")]


def test_what_comes_one_by_one_is_level() -> None:
    sizes = {"a": (10.0, 10.0), "b": (10.0, 70.0), "c": (10.0, 30.0)}
    route = place((sizes, [("a", "b"), ("b", "c")])).routes
    assert {y for points in route.values() for _, y in points} == {35.0}


def test_crossed_edges_are_untangled() -> None:
    sizes = dict.fromkeys("abcdef", (10.0, 10.0))
    boxes = place((sizes, [("a", "f"), ("b", "e"), ("c", "d")])).boxes
    order = [sorted(names, key=lambda n: boxes[n].top) for names in ("abc", "def")]
    partners = {"a": "f", "b": "e", "c": "d"}
    assert [partners[n] for n in order[0]] == order[1]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two spans that pushed a model, and one that failed when it compared another."""
    root = tmp_path_factory.mktemp("root")
    w = Writer(root)
    spans = [w.artifact("Examples", span=i) for i in (1, 2)]
    for i, examples in enumerate(spans, start=1):
        w.execution("ExampleGen", [], [examples], run=f"run-1-span-{i}" if i == 1 else "run-1")
    w.execution("Window", [], spans, output_event=INTERNAL_OUTPUT)
    graph, model = w.artifact("TransformGraph"), w.artifact("Model")
    w.execution("Transform", spans, [graph])
    w.execution("Trainer.keras", [*spans, graph], [model])
    w.execution("Preflight", [], [])
    pushed = w.artifact("PushedModel", pushed=1, pushed_version="100", framework="keras")
    w.execution("Pusher", [model], [pushed])

    w.execution("ExampleGen", [], [spans[1]], run="run-2", state=CACHED)
    w.execution("LiveModel", [], [pushed], run="run-2", output_event=INTERNAL_OUTPUT)
    other = w.artifact("Model")
    w.execution("Trainer.keras", [spans[1]], [other], run="run-2")
    error = "No <b>room</b> left\x1b[0m & so on"
    w.execution("Evaluator", [other, pushed], [], run="run-2", state=FAILED, error=error)
    w.execution("Report", [], [], run="run-2", state=RUNNING)

    evaluation, newer = w.artifact("ModelEvaluation"), w.artifact("Model")
    w.execution("Trainer.keras", [spans[1]], [newer], run="run-3")
    w.execution("Evaluator", [newer, pushed], [evaluation], run="run-3")
    live = w.artifact("PushedModel", pushed=1, pushed_version="101", framework="keras")
    w.execution("Pusher", [newer, evaluation], [live], run="run-3")
    return root


@pytest.fixture
def store(root: Path) -> lineage.Store:
    return lineage.open(root / "metadata.sqlite")


def texts(picture: Picture) -> list[str]:
    return [e.text or "" for e in ElementTree.fromstring(picture.svg).iter(f"{SVG}text")]


def described(picture: Picture) -> str:
    return ElementTree.fromstring(picture.svg).findtext(f"{SVG}desc") or ""


def test_a_run_is_drawn_with_who_gave_whom_something(store: lineage.Store) -> None:
    picture = store.run("run-1").picture()
    said = described(picture)
    # The run's own ExampleGen gave to the window, which passed on what the backfill made too.
    assert re.search(r"ExampleGen: complete, [\d.]+ s → Window\.", said)
    assert re.search(r"Window: complete, [\d.]+ s → Transform\.", said)
    assert re.search(r"Transform: complete, [\d.]+ s → Trainer\.keras\.", said)
    assert re.search(r"Trainer\.keras: complete, [\d.]+ s → Pusher\.", said)
    assert picture.title == "Run run-1: complete; nodes: 6 complete"
    assert "Preflight" in texts(picture)


def test_a_state_is_told_by_a_word_and_a_failure_by_its_reason(store: lineage.Store) -> None:
    picture = store.run("run-2").picture()
    shown = texts(picture)
    assert "↺ cached" in shown
    assert "● running" in shown
    assert any(text.startswith("✗ failed") for text in shown)
    titles = [e.text or "" for e in ElementTree.fromstring(picture.svg).iter(f"{SVG}title")]
    assert any(t.endswith("s: No <b>room</b> left\ufffd[0m & so on") for t in titles)
    assert picture.title == "Run run-2: failed; nodes: 2 complete, 1 cached, 1 failed, 1 running"


def test_a_live_model_that_a_later_one_was_compared_with_came_by_the_resolver(
    store: lineage.Store,
) -> None:
    said = described(store.run("run-2").picture())
    assert re.search(r"LiveModel: complete, [\d.]+ s → Evaluator\.", said)


def test_a_run_whose_pusher_found_the_live_model_again_is_drawn(tmp_path: Path) -> None:
    w = Writer(tmp_path)
    model, pushed = w.artifact("Model"), w.artifact("PushedModel", pushed=1)
    w.execution("Trainer.keras", [], [model])
    w.execution("Evaluator", [model, pushed], [])
    w.execution("Pusher", [model], [pushed], state=CACHED)
    said = described(lineage.open(tmp_path / "metadata.sqlite").run("run-1").picture())
    assert re.search(r"Trainer\.keras: [^→]* → Evaluator\.?", said)


def test_a_run_without_nodes_says_so_and_why(tmp_path: Path) -> None:
    w = Writer(tmp_path)
    w.execution("ExampleGen", [], [], run="run-1-span-1")
    w.execution("ExampleGen", [], [], run="run-1")
    w.facts("run-2", outcome="failed", reason="span 1 may not go on")
    picture = lineage.open(tmp_path / "metadata.sqlite").run("run-2").picture()
    assert texts(picture) == ["No node has begun", "✗ failed"]
    assert "<title>No node has begun. span 1 may not go on</title>" in picture.svg


def test_the_lineage_of_the_live_model_ends_at_one_that_was_live_before(
    store: lineage.Store,
) -> None:
    picture = store.live_model().picture()
    shown = texts(picture)
    assert {"PushedModel 9", "version 101", "★ live", "PushedModel 5", "live before"} <= set(shown)
    assert "Examples 2" in shown
    assert "span 2" in shown
    assert "TransformGraph 3" not in shown
    said = described(picture)
    assert (
        "Pusher (run-1): PushedModel 5, keras, version 100, live before; lineage 5 goes on" in said
    )
    assert "Evaluator (run-3): ModelEvaluation 7 → Pusher." in said
    assert picture.title == "PushedModel 9 and the 4 artifacts behind it"


def test_descendants_are_to_the_right_of_what_they_were_made_of(store: lineage.Store) -> None:
    picture = store.artifact(1).picture(down=True)
    said = described(picture)
    assert "ExampleGen (run-1-span-1): Examples 1, span 1 → Transform." in said
    assert "Transform (run-1): TransformGraph 3 → Trainer.keras." in said
    assert "live before; lineage 5 --down goes on from there" in said


def test_a_depth_leaves_out_what_is_farther_and_says_how_much(store: lineage.Store) -> None:
    picture = store.live_model().picture(depth=1)
    assert "… and 2 more nodes" in texts(picture)
    assert "Examples 2" not in texts(picture)
    assert "farther away, not drawn → " in described(picture)


def test_what_nobody_made_is_drawn_alone(tmp_path: Path) -> None:
    w = Writer(tmp_path)
    schema = w.artifact("Schema")
    w.execution("ExampleGen", [], [])
    picture = lineage.open(tmp_path / "metadata.sqlite").artifact(schema).picture()
    assert texts(picture)[:1] == ["Made elsewhere"]
    assert "Schema 1" in texts(picture)


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> lineage.Store:
    """A model of five spans; and a chain of 80 nodes."""
    root = tmp_path_factory.mktemp("root")
    w = Writer(root)
    spans = [w.artifact("Examples", span=i) for i in range(1, 6)]
    for i, examples in enumerate(spans):
        w.execution("ExampleGen", [], [examples], run=f"run-{i}")
    model = w.artifact("Model")
    w.execution("Trainer.keras", spans, [model], run="run-9")
    before: list[int] = []
    for i in range(80):
        thing = w.artifact("Thing")
        w.execution(f"Step.{i}", before, [thing], run="run-9")
        before = [thing]
    return lineage.open(root / "metadata.sqlite")


def test_many_nodes_that_did_the_same_are_one_box(history: lineage.Store) -> None:
    shown = texts(history.artifact(6).picture())
    assert shown.count("Model 6") == 1
    assert {"5 ExampleGen", "5 Examples", "spans 1-5"} <= set(shown)


def test_a_long_history_has_one_box_for_nodes_of_a_kind(tmp_path: Path) -> None:
    w = Writer(tmp_path)
    schema = w.artifact("Schema")
    w.execution("SchemaGen", [], [schema])
    for i in range(40):
        examples, model = w.artifact("Examples", span=i), w.artifact("Model")
        w.execution("Transform", [schema], [examples], run=f"run-{i}")
        w.execution("Trainer", [examples], [model], run=f"run-{i}")
    pushed = w.artifact("PushedModel", pushed=1)
    w.execution("Pusher", [model], [pushed], run="run-39")
    picture = lineage.open(tmp_path / "metadata.sqlite").artifact(schema).picture(down=True)
    shown = texts(picture)
    assert {"40 Transform", "40 Examples", "spans 0-39", "40 Trainer", "★ 1 live"} <= set(shown)
    assert "SchemaGen (run-1): Schema 1 → 40 Transform." in described(picture)
    assert "40 Model (3 to 81), ★ 1 live → Pusher." in described(picture)


def test_what_does_not_fit_is_counted(history: lineage.Store) -> None:
    picture = history.artifact(86).picture()
    shown = texts(picture)
    assert "… and 20 more nodes" in shown
    assert "Step.20" in shown
    assert "Step.19" not in shown
    assert "… and 20 more nodes, farther away, not drawn → Step.20." in described(picture)


def test_a_picture_has_nothing_that_clashes_in_a_page_or_comes_from_elsewhere(
    store: lineage.Store,
) -> None:
    svg = store.live_model().picture().svg
    assert not re.search(r"\bid=|url\(|href|<script|@import", svg)
    assert svg.count("http") == 1  # The name of SVG itself.
    assert all(
        selector.startswith((".lineage-picture", "@media"))
        for selector in re.findall(r"^(\S+)", re.findall(r"<style>\n(.*?)</style>", svg, re.S)[0])
    )
    root = ElementTree.fromstring(svg)
    assert root.get("role") == "img"
    assert [child.tag for child in root][:2] == [f"{SVG}title", f"{SVG}desc"]


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=60), st.text(max_size=60))
def test_any_text_is_shown_as_text(name: str, whole: str) -> None:
    box = Box((headline(name),), whole, "good")
    picture = drawn("<Title>", "", {"a": box}, [])
    root = ElementTree.fromstring(picture.svg)
    assert {e.tag for e in root.iter()} <= {
        f"{SVG}{tag}" for tag in ("svg", "title", "desc", "style", "rect", "g", "text", "path")
    }


def test_a_long_name_is_cut_short_and_told_whole_elsewhere() -> None:
    name = "Trainer.of-a-model-with-quite-a-long-name"
    picture = drawn("Title", "", {"a": Box((headline(name),), name, "good")}, [])
    (short,) = texts(picture)
    assert short.endswith("…")
    assert name.startswith(short[:-1])
    assert f"<title>{name}</title>" in picture.svg
    assert float(ElementTree.fromstring(picture.svg).get("width", 0)) < 230


def test_a_picture_is_the_same_however_python_hashes_texts(root: Path) -> None:
    code = (
        "import sys, pathlib; from pipeline import lineage;"
        "store = lineage.open(pathlib.Path(sys.argv[1]));"
        "pictures = store.live_model().picture(), store.run('run-1').picture();"
        "sys.stdout.buffer.write(''.join(p.svg for p in pictures).encode())"
    )
    drawn_twice = {
        subprocess.run(
            [sys.executable, "-c", code, str(root / "metadata.sqlite")],
            cwd=PROJECT,
            env=os.environ | {"PYTHONHASHSEED": seed},
            check=True,
            stdout=subprocess.PIPE,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(drawn_twice) == 1


def test_a_picture_is_saved_or_leaves_nothing(store: lineage.Store, tmp_path: Path) -> None:
    picture = store.run("run-1").picture()
    picture.save(tmp_path / "run.svg")
    assert (tmp_path / "run.svg").read_text(encoding="utf-8") == picture._repr_svg_()
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match=r"folder: the picture cannot be written"):
        picture.save(tmp_path / "folder")
    with pytest.raises(UserError, match=r"No such file"):
        picture.save(tmp_path / "none" / "run.svg")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "run.svg"]


@pytest.mark.parametrize("command", [["show", "run-1"], ["show", "9"], ["lineage"]])
def test_the_command_line_draws_into_a_file(
    command: list[str], root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "picture.svg"
    main([*command, "--picture", str(file), "--set", f"root={json.dumps(str(root))}"])
    title = ElementTree.parse(file).findtext(f"{SVG}title")
    assert capsys.readouterr().out == f"{title}: drawn in {file}\n"


def test_a_picture_is_not_printed_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["lineage", "--json", "--picture", "picture.svg"])
    assert "not allowed with argument --json" in capsys.readouterr().err
