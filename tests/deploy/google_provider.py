"""Stands in for Terraform's google provider: it knows the schemas, and makes nothing.

Where TF_REATTACH_PROVIDERS names a provider that is at work already, Terraform speaks its plugin
protocol (version 5, gRPC) with that one. So `validate`, `plan` and `apply` are Terraform's own, on
every reference, type, condition and module, without the registry and without an account. What
Google fills in is unknown in a plan, and KIND.ATTRIBUTE once it is applied.

The schemas, google_provider.json, are what `terraform providers schema -json` prints, of the
resources that are used; version 7.45, made from its published source. Anew, with the registry at
hand, in one of the environments:

    terraform init -backend=false && terraform providers schema -json |
      python -m tests.deploy.google_provider > tests/deploy/google_provider.json
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tools.environment import ROOT

TERRAFORM = ROOT / "deploy" / "terraform"
SCHEMAS = Path(__file__).with_suffix(".json")
ADDRESS = "registry.terraform.io/hashicorp/google"
KINDS = ("resource_schemas", "data_source_schemas", "ephemeral_resource_schemas")
_SERVE = "--serve"
PROJECT_NUMBER = "123456789012"
SECRET = "the-value-of-a-secret"
"""What every secret holds; it must be nowhere in a plan."""

# The part of the protocol's messages that is used. A map travels as a list of entries.
_MESSAGES = {
    "Value": "msgpack=1:bytes",
    "Attribute": (
        "name=1:string type=2:bytes required=4:bool optional=5:bool computed=6:bool "
        "write_only=10:bool"
    ),
    "Nested": (
        "type_name=1:string block=2:Block nesting=3:int32 min_items=4:int64 max_items=5:int64"
    ),
    "Block": "attributes=2:Attribute* block_types=3:Nested*",
    "Schema": "version=1:int64 block=2:Block",
    "Entry": "key=1:string value=2:Schema",
    "Schemas": (
        "provider=1:Schema resource_schemas=2:Entry* data_source_schemas=3:Entry* "
        "ephemeral_resource_schemas=8:Entry*"
    ),
    "Config": "config=1:Value",
    "Settings": "config=2:Value",
    "Named": "type_name=1:string config=2:Value",
    "State": "state=1:Value",
    "Opened": "result=3:Value",
    "Json": "json=1:bytes",
    "Raw": "type_name=1:string raw=3:Json",
    "Current": "type_name=1:string state=2:Value",
    "Change": "type_name=1:string prior=2:Value proposed=3:Value",
    "Planned": "state=1:Value legacy_type_system=5:bool",
}
_NESTING = {"single": 1, "list": 2, "set": 3}

Fields = Mapping[str, Any]


def schemas() -> dict[str, Any]:
    """The provider's schemas, by kind and name."""
    text = SCHEMAS.read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)["provider_schemas"][ADDRESS]
    return found


@contextmanager
def provider() -> Iterator[dict[str, str]]:
    """Serves the provider; gives the environment in which Terraform finds it.

    In a process of its own: what forks beside gRPC's threads may die of it, and other tests fork.
    """
    command = [sys.executable, "-m", "tests.deploy.google_provider", _SERVE]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, text=True, **pipes) as process:
        assert process.stdin and process.stdout
        attached = json.loads(process.stdout.readline())
        yield {"TF_REATTACH_PROVIDERS": json.dumps({ADDRESS: attached}), "CHECKPOINT_DISABLE": "1"}
        process.stdin.close()


def _serve() -> None:
    """Serves the provider, and says where, until the standard input is closed."""
    import grpc

    server = grpc.server(ThreadPoolExecutor(4))
    handlers = {name: _handler(*handler) for name, handler in _handlers().items()}
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler("tfplugin5.Provider", handlers)]
    )
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    attached = {
        "Protocol": "grpc",
        "ProtocolVersion": 5,
        "Pid": os.getpid(),
        "Test": True,
        "Addr": {"Network": "tcp", "String": address},
    }
    print(json.dumps(attached), flush=True)
    sys.stdin.read()
    server.stop(None).wait()


def _messages() -> dict[str, Any]:
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name="tfplugin5.proto", syntax="proto3")
    field_type = descriptor_pb2.FieldDescriptorProto
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field in fields.split():
            key, _, rest = field.partition("=")
            number, _, kind = rest.partition(":")
            label = field_type.LABEL_REPEATED if kind.endswith("*") else field_type.LABEL_OPTIONAL
            kind = kind.removesuffix("*")
            added = message.field.add(name=key, number=int(number), label=label)
            if kind in _MESSAGES:
                added.type, added.type_name = field_type.TYPE_MESSAGE, f".{kind}"
            else:
                added.type = field_type.Type.Value(f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    made = {name: pool.FindMessageTypeByName(name) for name in _MESSAGES}
    return {name: message_factory.GetMessageClass(made[name]) for name in made}


def _handler(given: Any, answer: Callable[[Any], Any]) -> Any:
    import grpc

    def answered(request: Any, context: Any) -> bytes:
        message = answer(request)
        return b"" if message is None else bytes(message.SerializeToString())

    return grpc.unary_unary_rpc_method_handler(
        answered, request_deserializer=given and given.FromString
    )


def _handlers() -> dict[str, tuple[Any, Callable[[Any], Any]]]:
    """What the protocol's calls are given, and what answers them; None is an empty answer."""
    import msgpack

    message = _messages()
    known = schemas()
    settings: dict[str, Any] = {}
    unknown = msgpack.ExtType(0, b"\0")

    def value(of: Any) -> Any:
        return message["Value"](msgpack=msgpack.packb(of))

    def loaded(of: Any) -> Any:
        return msgpack.unpackb(of.msgpack, strict_map_key=False)

    def block(of: Fields) -> Any:
        made = message["Block"]()
        for name, field in of.get("attributes", {}).items():
            flags = {flag: field[flag] for flag in field if flag != "type"}
            made.attributes.add(name=name, type=json.dumps(field["type"]).encode(), **flags)
        for name, nested in of.get("block_types", {}).items():
            limits = {key: nested[key] for key in ("min_items", "max_items") if key in nested}
            nesting = _NESTING[nested["nesting_mode"]]
            made.block_types.add(
                type_name=name, block=block(nested["block"]), nesting=nesting, **limits
            )
        return made

    def schema(of: Fields) -> Any:
        return message["Schema"](version=of["version"], block=block(of["block"]))

    def all_schemas(request: Any) -> Any:
        made = message["Schemas"](provider=schema(known["provider"]))
        for kind in KINDS:
            for name, found in known[kind].items():
                getattr(made, kind).add(key=name, value=schema(found))
        return made

    def plan(request: Any) -> Any:
        proposed, found = loaded(request.proposed), known["resource_schemas"][request.type_name]
        if proposed is not None:
            facts = {}
            if request.type_name == "google_service_account":
                # The provider knows these before there is an account.
                email = f"{proposed['account_id']}@{settings['project']}.iam.gserviceaccount.com"
                facts = {"email": email, "member": f"serviceAccount:{email}"}
            # What an earlier run computed stays; Terraform proposes it itself.
            rest = unknown if loaded(request.prior) is None else None
            proposed = _filled(proposed, found["block"], lambda name, _: facts.get(name, rest))
        return message["Planned"](state=value(proposed), legacy_type_system=True)

    def apply(request: Any) -> Any:
        planned, found = loaded(request.proposed), known["resource_schemas"][request.type_name]
        if planned is not None:
            planned = _filled(planned, found["block"], made_up(request.type_name))
        return message["State"](state=value(planned))

    def upgrade(request: Any) -> Any:
        return message["State"](state=value(json.loads(request.raw.json)))

    def made_up(kind: str) -> Callable[[str, Any], Any]:
        empty = {"bool": False, "number": 0, "map": {}, "list": [], "set": []}

        def made(name: str, of: Any) -> Any:
            return (
                f"{kind}.{name}" if of == "string" else empty[of if isinstance(of, str) else of[0]]
            )

        return made

    def read(request: Any) -> Any:
        found = known["data_source_schemas"][request.type_name]
        state = _filled(loaded(request.config), found["block"], made_up(request.type_name))
        if request.type_name == "google_project":
            state["number"] = PROJECT_NUMBER
        return message["State"](state=value(state))

    def opened(request: Any) -> Any:
        found = known["ephemeral_resource_schemas"][request.type_name]
        result = _filled(loaded(request.config), found["block"], made_up(request.type_name))
        return message["Opened"](result=value(result | {"secret_data": SECRET}))

    def configure(request: Any) -> None:
        settings.update(loaded(request.config))

    def nothing(request: Any) -> None:
        return None

    return {
        "GetSchema": (None, all_schemas),
        "PrepareProviderConfig": (message["Config"], lambda r: message["Config"](config=r.config)),
        "ValidateResourceTypeConfig": (None, nothing),
        "ValidateDataSourceConfig": (None, nothing),
        "ValidateEphemeralResourceConfig": (None, nothing),
        "Configure": (message["Settings"], configure),
        "ReadDataSource": (message["Named"], read),
        "OpenEphemeralResource": (message["Named"], opened),
        "CloseEphemeralResource": (None, nothing),
        "PlanResourceChange": (message["Change"], plan),
        "ApplyResourceChange": (message["Change"], apply),
        "UpgradeResourceState": (message["Raw"], upgrade),
        "ReadResource": (message["Current"], lambda r: message["State"](state=r.state)),
        "Stop": (None, nothing),
    }


def _filled(given: Any, block: Fields, fill: Callable[[str, Any], Any]) -> dict[str, Any]:
    """`given` with what the provider computes, by name and type; what may only be written goes."""
    from msgpack import ExtType

    made = dict(given)
    for name, field in block.get("attributes", {}).items():
        if field.get("write_only"):
            made[name] = None
        elif isinstance(made.get(name), ExtType) or (field.get("computed") and made[name] is None):
            made[name] = fill(name, field["type"])
    for name, nested in block.get("block_types", {}).items():
        if isinstance(made.get(name), list):
            made[name] = [
                _filled(item, nested["block"], fill) if isinstance(item, dict) else item
                for item in made[name]
            ]
    return made


def used() -> dict[str, set[str]]:
    """The names in the files of Terraform, by kind."""
    words = dict(zip(("resource", "data", "ephemeral"), KINDS, strict=True))
    names: dict[str, set[str]] = {kind: set() for kind in KINDS}
    for file in TERRAFORM.rglob("*.tf"):
        for word, name in re.findall(r'^(\w+) "(google_\w+)"', file.read_text("utf-8"), re.M):
            names[words[word]].add(name)
    return names


def _kept(document: Any) -> Iterator[str]:
    """The lines of google_provider.json: of `document`, what is used, without its prose."""
    found = document["provider_schemas"][ADDRESS]
    dull = ("description", "description_kind", "deprecated", "sensitive")

    def plain(of: Any) -> Any:
        if isinstance(of, dict):
            # An attribute may have one of these names: it is a table.
            kept = {key for key in of if key not in dull or isinstance(of[key], dict)}
            return {key: plain(value) for key, value in of.items() if key in kept}
        return of

    def line(of: Any) -> str:
        return json.dumps(plain(of), separators=(",", ":"))

    yield f'{{"format_version":"1.0","provider_schemas":{{"{ADDRESS}":{{'
    yield f' "provider":{line(found["provider"])}'
    for kind, names in used().items():
        yield f' ,"{kind}":{{'
        yield ",\n".join(f'  "{name}":{line(found[kind][name])}' for name in sorted(names))
        yield " }"
    yield "}}}"


if __name__ == "__main__":
    if sys.argv[1:] == [_SERVE]:
        _serve()
    else:
        print("\n".join(_kept(json.load(sys.stdin))))
