"""The pipeline, from rows to a pushed model; nothing in it knows who runs it."""

from __future__ import annotations

from tfx.components.example_validator.component import ExampleValidator
from tfx.components.schema_gen.component import SchemaGen
from tfx.components.schema_gen.import_schema_gen.component import ImportSchemaGen
from tfx.dsl.components.base.base_component import BaseComponent
from tfx.dsl.components.common.resolver import Resolver
from tfx.orchestration.data_types import RuntimeParameter
from tfx.orchestration.pipeline import Pipeline
from tfx.proto.trainer_pb2 import TrainArgs
from tfx.types import standard_artifacts
from tfx.types.channel import Channel
from tfx.types.channel_utils import union

from custom_components.batch_predict.component import BatchPredict
from custom_components.batch_predict.settings import ReadSettings
from custom_components.canary.component import Canary
from custom_components.data_gate import DataGate
from custom_components.evaluator.component import Evaluator
from custom_components.example_gen.columns import load_table
from custom_components.example_gen.component import TabularExampleGen
from custom_components.example_gen.settings import IngestSettings
from custom_components.example_gen.split import SPLITS
from custom_components.export_evaluation.component import EvaluationRecords, ExportEvaluation
from custom_components.model_selector import ModelSelector
from custom_components.preflight import Preflight
from custom_components.pusher import Pusher
from custom_components.registrar.component import Registrar
from custom_components.registrar.tracking import Destination
from custom_components.report.component import Report
from custom_components.resolvers import (
    BaseModel,
    LiveModel,
    PreviousSpan,
    RollingWindow,
    ever_made,
)
from custom_components.statistics_gen import StatisticsGen
from custom_components.trainer import CROSS_VALIDATION, HALF_LIFE, Trainer
from custom_components.transform import Transform
from custom_components.tuner.component import Tuner
from pipeline import parameters
from pipeline.config import PipelineConfig, absolute
from pipeline.evaluate_config import JudgedOn
from pipeline.train_config import GOES_ON, Framework

TRANSFORM = "Transform"
"""The id of the node whose analyses later runs take over."""
PUSHER = "Pusher"
"""The id of the node that makes a model live."""


def create_pipeline(config: PipelineConfig) -> Pipeline:
    """The graph of `config`. The span to ingest is a runtime parameter."""
    features = config.features.model_dump_json()
    transform_config = {"features": features, "split_by": config.data.split_column}

    # One span of rows, and what it looks like.
    example_gen = TabularExampleGen(
        config.data_folder,
        "*.parquet" if config.data.query else config.data.pattern,
        settings=IngestSettings.of(config.data),
        table=load_table(
            config.data.schema_file, config.features, split_time=config.data.split_time
        ),
        range_config=RuntimeParameter(name=parameters.SPAN, ptype=str),
    ).with_id("ExampleGen")
    statistics_gen = StatisticsGen(examples=example_gen.outputs["examples"])
    statistics = statistics_gen.outputs["statistics"]
    schema_gen = _schema(config, statistics)
    schema = schema_gen.outputs["schema"]

    # Is it what it should be, and what it was? DataGate stops the run if not.
    validator = ExampleValidator(statistics=statistics, schema=schema)
    previous = Resolver(
        strategy_class=PreviousSpan,
        config={"gate": DataGate.get_class_type()},
        current=statistics,
        history=ever_made(standard_artifacts.ExampleStatistics, statistics_gen.id),
    ).with_id("PreviousStatistics")
    gate = DataGate(
        statistics=statistics,
        anomalies=validator.outputs["anomalies"],
        previous_statistics=previous.outputs["history"],
        config=config.gate.model_dump_json(),
        features=features,
    )
    preflight = Preflight(
        statistics=statistics,
        schema=schema,
        features=features,
        evaluate=config.evaluate.model_dump_json(),
        split_by=config.data.split_column or "",
        memory_budget=config.data.memory_budget,
    )

    # The window of spans to learn from, transformed once for every framework.
    window = Resolver(
        strategy_class=RollingWindow,
        config={
            "window": config.data.window,
            "gate": gate.type,
            "unseen": config.evaluate.on is JudgedOn.UNSEEN,
        },
        current=example_gen.outputs["examples"],
        examples=ever_made(standard_artifacts.Examples, example_gen.id),
    ).with_id("Window")
    window.add_upstream_nodes([gate, preflight])
    analyzed = [] if config.data.window == 1 else [_analyzed(window)]
    bases = [_base(config, window)] if config.train.warm_start else []
    base = bases[0].outputs if bases else {}
    transform = Transform(
        examples=window.outputs["examples"],
        schema=schema,
        preprocessing_fn="models.preprocessing.preprocessing_fn",
        custom_config=transform_config,
        analyzer_cache=analyzed[0].outputs["history"] if analyzed else None,
        base_transform_graph=base.get("transform_graph"),
        analyze=SPLITS if config.evaluate.cross_validation else (),
    ).with_id(TRANSFORM)
    tuners = _tuners(config, transform)
    trainers = [
        _trainer(
            config,
            framework,
            transform,
            window=window,
            schema=schema,
            tuner=tuners.get(framework),
            base_model=base.get(framework),
        )
        for framework in config.train.frameworks
    ]
    models = union([trainer.outputs["model"] for trainer in trainers])

    # Better than the bounds? Which is the best, and better than the live model? Does it serve?
    live = Resolver(
        strategy_class=LiveModel,
        candidate=models,
        live=ever_made(standard_artifacts.PushedModel, PUSHER),
    ).with_id("LiveModel")
    evaluator = Evaluator(
        examples=window.outputs["examples" if config.evaluate.on is JudgedOn.WINDOW else "current"],
        learned=window.outputs["examples"],
        models=models,
        baseline_model=live.outputs["live"],
        evaluate=config.evaluate.model_dump_json(),
        features=config.features,
        canary_rows=config.canary.rows,
        ensemble=config.select.ensemble,
        group_by=config.data.split_column or "",
    )
    selector = ModelSelector(
        models=models,
        evaluation=evaluator.outputs["evaluation"],
        baseline_model=live.outputs["live"],
        select=config.select.model_dump_json(),
        evaluate=config.evaluate.model_dump_json(),
    )
    canary = Canary(
        model=selector.outputs["model"],
        evaluation=evaluator.outputs["evaluation"],
        model_blessing=selector.outputs["blessing"],
        canary=config.canary,
    )

    # Then it is the live model: at once, or when a person or its trial says so; MLflow knows of it.
    pusher = Pusher(
        model=selector.outputs["model"],
        model_blessing=selector.outputs["blessing"],
        infra_blessing=canary.outputs["blessing"],
        directory=config.serving_directory,
    ).with_id(PUSHER)
    pushers = [pusher] if config.registration.approval == "auto" else []
    pushed_model = pusher.outputs["pushed_model"] if pushers else None
    predictors = _predictors(config, pushed_model, live.outputs["live"])
    registrars = []
    if config.registration.enabled:
        registrar = Registrar(
            models=models,
            model_runs=union([trainer.outputs["model_run"] for trainer in trainers]),
            evaluation=evaluator.outputs["evaluation"],
            selection=selector.outputs["selection"],
            model=selector.outputs["model"],
            schema=schema,
            infra_blessing=canary.outputs["blessing"],
            pushed_model=pushed_model,
            destination=Destination.of(config),
            model_name=config.model_name,
            root=config.pipeline_root,
            train=config.train,
        )
        registrars = [registrar]

    # What happened, and why: a page for people.
    report = Report(
        evaluation=evaluator.outputs["evaluation"],
        selection=selector.outputs["selection"],
        infra_blessing=canary.outputs["blessing"],
        pushed_model=pushed_model,
        registration=registrars[0].outputs["registration"] if registrars else None,
        store=config.store_url,
    )
    exports = _exports(config, evaluator, selector)
    for export in exports:  # A receiver that is away keeps no model from going live.
        export.add_upstream_nodes([canary, *pushers, *registrars])
    components = [
        *(example_gen, statistics_gen, schema_gen, validator, previous, gate, preflight),
        *(window, *analyzed, *bases, transform, *tuners.values(), *trainers),
        *(live, evaluator, selector, canary, *pushers, *predictors, *registrars, report),
        *exports,
    ]
    return Pipeline(
        pipeline_name=config.name,
        pipeline_root=config.pipeline_root,
        components=components,
        enable_cache=config.run.cache,
        beam_pipeline_args=list(config.run.beam_args),
    )


def _schema(config: PipelineConfig, statistics: Channel) -> BaseComponent:
    """The curated schema where the configuration names one, else one inferred from the span."""
    if config.data.schema_file:
        schema_gen = ImportSchemaGen(schema_file=absolute(config.data.schema_file))
    else:
        schema_gen = SchemaGen(statistics=statistics)
    return schema_gen.with_id("SchemaGen")


def _base(config: PipelineConfig, window: Resolver) -> Resolver:
    """What Transform and the trainers go on from: a graph, and models by framework."""
    return Resolver(
        strategy_class=BaseModel,
        examples=window.outputs["examples"],
        pushed=ever_made(standard_artifacts.PushedModel, PUSHER),
        transform_graph=ever_made(standard_artifacts.TransformGraph, TRANSFORM),
        **{
            framework.value: ever_made(standard_artifacts.Model, f"Trainer.{framework}")
            for framework in config.train.frameworks
            if framework in GOES_ON
        },
    ).with_id("BaseModel")


def _analyzed(window: Resolver) -> Resolver:
    """What an earlier run learned from the spans of its window, most of which are in this one's."""
    return Resolver(
        strategy_class=PreviousSpan,
        current=window.outputs["examples"],
        history=ever_made(standard_artifacts.TransformCache, TRANSFORM),
    ).with_id("AnalyzerCache")


def _tuners(config: PipelineConfig, transform: Transform) -> dict[Framework, Tuner]:
    """A search for the hyper-parameters of each framework that is to have one."""
    if not config.tune.trials:
        return {}
    searched = config.tune.frameworks or config.train.frameworks
    return {
        framework: Tuner(
            examples=transform.outputs["transformed_examples"],
            transform_graph=transform.outputs["transform_graph"],
            framework=framework,
            features=config.features,
            train=config.train,
            tune=config.tune,
            study_folder=f"{config.pipeline_root}/studies",
            memory_budget=config.data.memory_budget,
            half_life=config.data.half_life,
        ).with_id(f"Tuner.{framework}")
        for framework in config.train.frameworks
        if framework in searched
    }


def _predictors(
    config: PipelineConfig, pushed_model: Channel | None, live_model: Channel
) -> list[BaseComponent]:
    """What predicts the rows of the files that the configuration names, if any."""
    if not config.predict.files:
        return []
    files = [absolute(file) for file in config.predict.files]
    read = ReadSettings.of(config.data)
    return [BatchPredict(files, pushed_model=pushed_model, live_model=live_model, read=read)]


def _exports(
    config: PipelineConfig, evaluator: Evaluator, selector: BaseComponent
) -> list[BaseComponent]:
    """What tells a warehouse or a webhook what was found, where the configuration names one."""
    if not config.export.url:
        return []
    records = EvaluationRecords(
        evaluation=evaluator.outputs["evaluation"], selection=selector.outputs["selection"]
    )
    export = ExportEvaluation(
        records.outputs["records"], url=config.export.url, image=config.export.image
    )
    return [records, export]


def _trainer(
    config: PipelineConfig,
    framework: Framework,
    transform: Transform,
    *,
    window: Resolver,
    schema: Channel,
    tuner: Tuner | None,
    base_model: Channel | None,
) -> BaseComponent:
    """The trainer of one framework's model; in cross-validation it learns from every split."""
    parted = config.evaluate.cross_validation
    transformed = transform.outputs["transformed_examples"]
    return Trainer(
        run_fn=f"models.{framework}_model.run_fn",
        examples=window.outputs["examples"] if parted else transformed,
        train_args=TrainArgs(splits=[*SPLITS]) if parted else None,
        transform_graph=transform.outputs["transform_graph"],
        schema=schema,
        base_model=base_model,
        hyperparameters=tuner.outputs["best_hyperparameters"] if tuner else None,
        custom_config={
            "features": config.features.model_dump_json(),
            "train": config.train.only(framework).model_dump_json(),
            "memory_budget": config.data.memory_budget,
            HALF_LIFE: config.data.half_life,
            **({CROSS_VALIDATION: parted.model_dump_json()} if parted else {}),
        },
    ).with_id(f"Trainer.{framework}")
