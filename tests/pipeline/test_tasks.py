"""The tasks that begin a run on a cluster; the metadata store is asked what they did."""

from __future__ import annotations

import json
import re
import threading
from pathlib import Path
from typing import Any

import pytest
from ml_metadata.metadata_store import MetadataStore

from pipeline import metadata, node
from pipeline.cluster import packed
from pipeline.compiler import CODE_DIGEST, compile_pipeline
from pipeline.config import PipelineConfig
from pipeline.config_file import DEFAULT, load
from pipeline.errors import UserError
from pipeline.store import connect, record, roots
from pipeline.tasks import backfill, finish, init
from tests import services
from tests.pipeline.toy import compile_toy

RUN = "run-1"


class Cluster:
    """A root with data of spans 1 to 4, a store, and the package's arguments."""

    def __init__(self, folder: Path, url: str, *settings: str) -> None:
        self.folder, self.url = folder, url
        data = folder / "data"
        data.mkdir(exist_ok=True)
        for span in range(1, 5):
            (data / f"month-{span}.csv").touch()
        self.config = load(
            DEFAULT,
            [
                f"root={folder}/root",
                f"store.url={url}",
                f"data.path={data}",
                "data.pattern=month-{SPAN}.csv",
                "data.span=4",
                "data.window=3",
                *settings,
            ],
        )
        self.ir = compile_pipeline(self.config)

    @property
    def store(self) -> MetadataStore:
        return connect.opened(connect.connection_to(self.url))

    def facts(self) -> dict[str, str]:
        return record.read(self.store, RUN)

    def init(self, *more: str, config: PipelineConfig | None = None) -> int:
        text = (config or self.config).model_dump_json()
        return init.main(
            [
                *("--config-gzip", packed.pack_text(text.encode())),
                *("--ir-gzip", packed.pack(self.ir), "--run-id", RUN, "--store", self.url),
                *("--span", "", "--note", "a note", "--force", "False", "--image", "flights@1"),
                *("--span-output", str(self.folder / "made" / "span")),
                *("--backfill-output", str(self.folder / "made" / "backfill")),
                *more,
            ]
        )

    def outputs(self) -> tuple[str, Any]:
        made = self.folder / "made"
        return (made / "span").read_text(), json.loads((made / "backfill").read_text())


@pytest.fixture
def sqlite(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/metadata.sqlite"


@pytest.fixture
def cluster(tmp_path: Path, sqlite: str) -> Cluster:
    return Cluster(tmp_path, sqlite)


def test_init_makes_the_store_and_says_which_spans_to_ingest(
    server: services.Server, tmp_path: Path
) -> None:
    cluster = Cluster(tmp_path, server.database())
    assert cluster.init() == 0
    assert cluster.outputs() == ("4", [2, 3])
    facts = cluster.facts()
    assert (
        facts.items()
        >= {
            "pipeline": "flights",
            "span": "4",
            "image": "flights@1",
            "note": "a note",
            "runner": "kubeflow",
        }.items()
    )
    assert PipelineConfig.model_validate_json(facts["config"]).name == "flights"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", facts["started"])
    assert not list(Path(cluster.config.pipeline_root).glob(".probe*"))
    assert cluster.init("--span", "2") == 0  # a retry
    assert cluster.outputs() == ("2", [1])
    # Where TFX looks for the runs of a pipeline.
    run = cluster.store.get_context_by_type_and_name(record.RUN, RUN)
    above = cluster.store.get_parent_contexts_by_context(run.id)
    assert [(context.type, context.name) for context in above] == [("pipeline", "flights")]


def test_the_facts_of_a_run_survive_its_nodes(server: services.Server, tmp_path: Path) -> None:
    url = server.database()
    connection = connect.connection_to(url)
    record.write(connect.opened(connection), RUN, {"note": "kept"})
    bound = node.bind(compile_toy(str(tmp_path)), RUN, {})
    assert node.run_node(bound, "Source", connection=connection).state is node.State.COMPLETE
    store = connect.opened(connection)
    assert record.read(store, RUN) == {"note": "kept"}
    assert len(store.get_contexts_by_type(record.RUN)) == 1


def test_init_takes_the_newest_span_where_it_is_asked_for(cluster: Cluster) -> None:
    (cluster.folder / "data" / "month-5.csv").touch()
    assert cluster.init("--span", "newest") == 0
    assert cluster.outputs() == ("5", [3, 4])


@pytest.mark.parametrize(
    ("span", "said"),
    [("9", "no file of span 9"), ("two", "span is 'two'; expected a whole number")],
)
def test_init_refuses_a_span_that_is_not_there(
    cluster: Cluster, capsys: pytest.CaptureFixture[str], span: str, said: str
) -> None:
    assert cluster.init("--span", span) == 2
    assert said in capsys.readouterr().err
    assert not (cluster.folder / "made").exists()


def test_init_refuses_an_image_with_other_code_and_keeps_why(
    cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    for node_id in ("Canary", "Transform"):
        parameters = node.find(cluster.ir, node_id).parameters.parameters
        parameters[CODE_DIGEST].field_value.string_value = "other"
    assert cluster.init() == 2
    said = "the image has other code, or other versions of libraries, for Transform, Canary than"
    assert said in capsys.readouterr().err
    assert (cluster.facts()["failed_node"], cluster.facts()["reason"][: len(said)]) == (
        "init",
        said,
    )


def test_code_is_not_compared_for_nodes_that_have_an_image_of_their_own(
    tmp_path: Path, sqlite: str
) -> None:
    cluster = Cluster(tmp_path, sqlite, "tasks.nodes.Canary.image=canary@1")
    parameters = node.find(cluster.ir, "Canary").parameters.parameters
    parameters[CODE_DIGEST].field_value.string_value = "other"
    init.check_code(cluster.config, cluster.ir)


def test_a_package_on_its_way_keeps_the_digests_of_its_code(cluster: Cluster) -> None:
    init.check_code(cluster.config, packed.unpack(packed.pack(cluster.ir)))


def test_a_root_of_another_store_is_refused(cluster: Cluster, tmp_path: Path) -> None:
    roots.check(cluster.config, opened(cluster.config))
    roots.check(cluster.config, opened(cluster.config))
    url = f"sqlite:///{tmp_path}/other.sqlite"
    other = load(DEFAULT, [f"root={cluster.config.root}", f"store.url={url}"])
    with pytest.raises(UserError, match="belongs to another store") as raised:
        roots.check(other, opened(other))
    assert "name that store as store.url, or a new, empty root" in str(raised.value)


def test_a_store_that_knows_the_pipeline_by_another_root_is_refused(
    cluster: Cluster, tmp_path: Path
) -> None:
    roots.check(cluster.config, opened(cluster.config))
    moved = cluster.config.model_copy(update={"root": str(tmp_path / "moved")})
    with pytest.raises(UserError, match=r"lies in .*/root: name that root again"):
        roots.check(moved, opened(moved))
    # Another pipeline may share the store.
    roots.check(moved.model_copy(update={"name": "other"}), opened(moved))


def test_two_runs_that_begin_at_once_agree_on_the_store(server: services.Server, tmp_path: Path):
    cluster = Cluster(tmp_path, server.database())
    errors: list[Exception] = []

    def check() -> None:
        try:
            roots.check(cluster.config, opened(cluster.config))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=check) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    roots.check(cluster.config, opened(cluster.config))


def test_a_root_that_cannot_be_written_to_is_refused(
    cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(cluster.config.pipeline_root).write_text("a file where a folder should be")
    assert cluster.init() == 2
    assert "nothing can be written there" in capsys.readouterr().err


def opened(config: PipelineConfig) -> MetadataStore:
    connection = metadata.connection(config)
    metadata.create_tables(connection)
    return connect.opened(connection)


@pytest.mark.parametrize("behaviour", ["work", "user error", "defect"])
def test_backfill_ingests_the_earlier_spans_up_to_the_gate(
    tmp_path: Path,
    sqlite: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    behaviour: str,
) -> None:
    monkeypatch.setattr("pipeline.launch.GATE", "Left")
    monkeypatch.setenv("PIPELINE_NOTE", "")
    ir = packed.pack(compile_toy(str(tmp_path), behaviour))
    arguments = ["--ir-gzip", ir, "--run-id", RUN, "--store", sqlite, "--note", "", "--force"]
    metadata.create_tables(connect.connection_to(sqlite))
    code = backfill.main([*arguments, "false", "--spans", "[1, 2]"])
    store = connect.opened(connect.connection_to(sqlite))
    ended = {span: finish.ended(store, f"{RUN}-span-{span}") for span in (1, 2)}
    said = capsys.readouterr()
    if behaviour == "work":
        assert (code, ended) == (0, {span: {"Source": "", "Left": ""} for span in (1, 2)})
    elif behaviour == "user error":  # Data that is refused is left out.
        assert code == 0
        assert [one["Left"] for one in ended.values()] == ["row 3 is bad; mend it"] * 2
        assert "Span 2 is refused as it is now; the run goes on without it. Left: row 3" in said.out
    else:
        assert (code, ended[2]) == (1, {})
        assert "backfill: Left: ZeroDivisionError: division by zero" in said.err


def test_backfill_of_nothing_needs_no_store() -> None:
    arguments = ["--ir-gzip", "", "--run-id", RUN, "--store", "mysql://me@nowhere/store"]
    assert backfill.main([*arguments, "--spans", "[]"]) == 0
