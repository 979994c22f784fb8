"""Compiles the pipeline to TFX's intermediate representation, stamped with the code it runs."""

from __future__ import annotations

from tfx.dsl.compiler.compiler import Compiler
from tfx.orchestration.local import runner_utils
from tfx.proto.orchestration import pipeline_pb2

from pipeline.code import digest
from pipeline.config import PipelineConfig
from pipeline.node import find
from pipeline.pipeline import create_pipeline

CODE_DIGEST = "code_digest"


def compile_pipeline(config: PipelineConfig) -> pipeline_pb2.Pipeline:
    """The compiled pipeline of `config`.

    TFX's cache keys know a node's settings and inputs but not its code (tfx#2247). So each node
    gets one more parameter, a digest of the project's modules and files that its executor, driver
    and parameters name, and of the libraries' versions: it enters the cache key, and the store.
    """
    ir = Compiler().compile(create_pipeline(config))
    for node_id, code_digest in code_digests(ir).items():
        parameters = find(ir, node_id).parameters.parameters
        parameters[CODE_DIGEST].field_value.string_value = code_digest
    # TFX packs them in the order of Python's hashes; this way the same input gives the same bytes.
    packed = pipeline_pb2.IntermediateDeploymentConfig()
    ir.deployment_config.Unpack(packed)
    ir.deployment_config.Pack(packed, deterministic=True)
    return ir


def code_digests(ir: pipeline_pb2.Pipeline) -> dict[str, str]:
    """The digest of the code that each node of `ir` would run here, by the node's id.

    Resolvers have no executor and are never cached: they have none.
    """
    deployment = runner_utils.extract_local_deployment_config(ir)
    digests = {}
    for node in (entry.pipeline_node for entry in ir.nodes):
        node_id = node.node_info.id
        if node_id not in deployment.executor_specs:
            continue
        names = [str(deployment.executor_specs[node_id])]
        if node_id in deployment.custom_driver_specs:
            names.append(str(deployment.custom_driver_specs[node_id]))
        given = node.parameters.parameters
        keys = sorted(key for key in given if key != CODE_DIGEST)
        digests[node_id] = digest([*names, *(given[k].field_value.string_value for k in keys)])
    return digests
