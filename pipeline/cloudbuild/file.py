"""Reads and checks a build's file: as Cloud Build does, and stricter where it looks away."""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from pipeline.cloudbuild.substitutions import BUILT_IN, Substitutions, is_user_name
from pipeline.errors import UserError

if TYPE_CHECKING:
    from google.cloud.devtools.cloudbuild_v1.types import Build as Message
    from google.cloud.devtools.cloudbuild_v1.types import BuildStep, Volume

WORKSPACE = "/workspace"
_DEFAULT_SECONDS = 3600.0
_LONGEST_SECONDS = 24 * 3600.0
_RESERVED = (WORKSPACE, "/builder/home", "/var/run/docker.sock", "/cloudbuild")
_VOLUME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")
_SECRET = re.compile(r"projects/[^/]+/secrets/[^/]+/versions/[^/]+")


@dataclass(frozen=True)
class Step:
    """A step, its substitutions made.

    Attributes:
      index: its place in the file, from 0.
      id: its name there; empty if it has none.
      builder: the image that it runs in.
      command: the arguments, after the entrypoint.
      entrypoint: in place of the image's; empty for that one.
      script: the text of a program, in place of both.
      folder: where it runs, from /workspace on or absolute; empty for /workspace.
      environment: the variables of the build and its own.
      secrets: the variables that Secret Manager fills in.
      volumes: the path of each volume by its name.
      needs: the steps that must have ended well before.
      timeout: in seconds; None for the build's alone.
      allowed: the exit codes that do not fail the build; None for any.
    """

    index: int
    id: str
    builder: str
    command: tuple[str, ...]
    entrypoint: str
    script: str
    folder: str
    environment: Mapping[str, str]
    secrets: tuple[str, ...]
    volumes: Mapping[str, str]
    needs: frozenset[int]
    timeout: float | None
    allowed: frozenset[int] | None

    @property
    def name(self) -> str:
        """As Cloud Build's logs call it."""
        return f'Step #{self.index} - "{self.id}"' if self.id else f"Step #{self.index}"


@dataclass(frozen=True)
class Build:
    """A build that can be run.

    Attributes:
      steps: in the order of the file.
      timeout: of all of it, in seconds.
      secrets: the version in Secret Manager of each variable.
      artifacts: globs of the files that are kept.
      location: where they are kept, a folder in a bucket.
      foreign: the fields that say something which only Cloud Build itself can do.
    """

    steps: tuple[Step, ...]
    timeout: float
    secrets: Mapping[str, str]
    artifacts: tuple[str, ...]
    location: str
    foreign: tuple[str, ...]


def read(
    file: Path, given: Mapping[str, str] | None = None, known: Mapping[str, str] | None = None
) -> Build:
    """The build of a file.

    Args:
      file: YAML or JSON.
      given: values of substitutions that go before the file's own.
      known: values of built-in substitutions; empty where they are not given.

    Raises:
      UserError: Cloud Build would refuse the file, would put nothing in the place of a name, or
        something is defined and not used.
    """
    try:
        return _build(_message(file), given or {}, known or {})
    except UserError as error:
        raise UserError(f"{file}: {error}") from None


class _Loader(yaml.SafeLoader):
    """YAML whose mappings name each key once."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    keys = [key.value for key, _ in node.value]
    if twice := sorted({key for key in keys if keys.count(key) > 1}):
        raise UserError(f"line {node.start_mark.line + 1}: {', '.join(twice)} is there twice.")
    content: dict[Any, Any] = loader.construct_mapping(node, deep=True)
    return content


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def _message(file: Path) -> Message:
    """The file as Cloud Build's own message, which knows every field."""
    from google.cloud.devtools.cloudbuild_v1.types import Build as Message
    from google.protobuf.json_format import ParseError

    try:
        content = yaml.load(file.read_text(encoding="utf-8"), _Loader)
    except (OSError, UnicodeError) as error:
        raise UserError(f"cannot be read: {error}") from None
    except yaml.YAMLError as error:
        raise UserError(f"is not YAML: {error}") from None
    if not isinstance(content, dict):
        raise UserError("is no build: expected a mapping with steps.")
    try:
        message: Message = Message.from_json(json.dumps(content), ignore_unknown_fields=False)
    except (ParseError, TypeError) as error:
        raise UserError(f"is not what Cloud Build takes: {str(error).splitlines()[0]}") from None
    return message


def _build(message: Message, given: Mapping[str, str], known: Mapping[str, str]) -> Build:
    options, own = message.options, dict(message.substitutions)
    for name in own:
        if not is_user_name(name):
            raise UserError(f"substitutions: {name} is not of the form _NAME.")
    if unknown := sorted(n for n in given if n not in own and n not in BUILT_IN):
        raise UserError(f"has no substitution {', '.join(unknown)}; it has {_listed(own)}.")
    loose = options.substitution_option == options.SubstitutionOption.ALLOW_LOOSE
    values = dict.fromkeys(BUILT_IN, "") | dict(known) | own | dict(given)
    substitutions = Substitutions(values, dynamic=options.dynamic_substitutions, loose=loose)

    whole = message.timeout.total_seconds() or _DEFAULT_SECONDS
    if not 0 < whole <= _LONGEST_SECONDS:
        raise UserError("timeout: expected more than 0 s and at most 86400s.")
    secrets = dict(_secrets(message, substitutions))
    steps = tuple(_steps(message, whole, substitutions))
    objects = message.artifacts.objects
    build = Build(
        steps,
        whole,
        secrets,
        tuple(map(substitutions.apply, objects.paths)),
        substitutions.apply(objects.location),
        tuple(_foreign(message)),
    )
    where = (message.logs_bucket, message.service_account, options.pool.name)
    for text in (*message.images, *message.tags, *where):
        substitutions.apply(text)
    _check_secrets(build)
    _check_volumes(message)
    if objects and not (objects.paths and build.location.startswith("gs://")):
        raise UserError("artifacts.objects: expected paths, and a location gs://BUCKET/FOLDER/.")
    if not loose and (unused := sorted(set(own) - substitutions.used)):
        raise UserError(f"nothing uses the substitution {', '.join(unused)}: leave it out.")
    return build


def _steps(message: Message, whole: float, substitutions: Substitutions) -> Iterator[Step]:
    if not message.steps:
        raise UserError("has no steps.")
    ids = [step.id for step in message.steps]
    for index, step in enumerate(message.steps):
        try:
            yield _step(message, index, ids, whole, substitutions)
        except UserError as error:
            name = f'"{step.id}"' if step.id else f"#{index}"
            raise UserError(f"step {name}: {error}") from None


def _step(
    message: Message, index: int, ids: Sequence[str], whole: float, substitutions: Substitutions
) -> Step:
    step, options = message.steps[index], message.options
    apply = substitutions.apply
    if not step.name:
        raise UserError("has no name, the image that it runs in.")
    if step.id == "-" or (step.id and ids.count(step.id) > 1):
        raise UserError("the id is another step's, too, or is -, which stands for the start.")
    if step.script and (step.args or step.entrypoint):
        raise UserError("has a script, so it can have neither args nor entrypoint.")
    timeout = step.timeout.total_seconds() if "timeout" in step else None
    if timeout is not None and not 0 < timeout <= whole:
        raise UserError(f"timeout: expected more than 0 s and at most the build's, {whole:g}s.")
    environment = _environment(options.env, substitutions) | _environment(step.env, substitutions)
    automap = options.automap_substitutions
    if step.automap_substitutions if "automap_substitutions" in step else automap:
        environment = substitutions.environment() | environment
    secrets = (*options.secret_env, *step.secret_env)
    if twice := sorted({name for name in secrets if secrets.count(name) > 1}):
        raise UserError(f"secretEnv names {', '.join(twice)} twice.")
    if both := sorted(set(secrets) & set(environment)):
        raise UserError(f"{', '.join(both)} is in env and in secretEnv.")
    codes = frozenset(step.allow_exit_codes)
    return Step(
        index=index,
        id=step.id,
        builder=apply(step.name),
        command=tuple(map(apply, step.args)),
        entrypoint=apply(step.entrypoint),
        script=step.script,  # whose dollars are the shell's
        folder=apply(step.dir_),
        environment=environment,
        secrets=secrets,
        volumes={v.name: posixpath.normpath(v.path) for v in (*options.volumes, *step.volumes)},
        needs=_needs(step, index, ids),
        timeout=timeout,
        allowed=None if step.allow_failure and not codes else codes,
    )


def _needs(step: BuildStep, index: int, ids: Sequence[str]) -> frozenset[int]:
    """The steps that this one waits for; where it names none, all before it."""
    if not step.wait_for:
        return frozenset(range(index))
    needed = [name for name in step.wait_for if name != "-"]
    for name in needed:
        if not name or name not in ids:
            raise UserError(f"waitFor: there is no step {name!r}.")
        if ids.index(name) >= index:
            raise UserError(f"waitFor: {name!r} does not come before it, so they would go round.")
    return frozenset(ids.index(name) for name in needed)


def _environment(lines: Sequence[str], substitutions: Substitutions) -> dict[str, str]:
    pairs = [substitutions.apply(line).partition("=") for line in lines]
    if wrong := [name for name, equals, _ in pairs if not (name and equals)]:
        raise UserError(f"env: expected NAME=VALUE, not {wrong[0]!r}.")
    return {name: value for name, _, value in pairs}


def _secrets(message: Message, substitutions: Substitutions) -> Iterator[tuple[str, str]]:
    seen = set()
    for secret in message.available_secrets.secret_manager:
        version = substitutions.apply(secret.version_name)
        if not secret.env or secret.env in seen:
            raise UserError(f"availableSecrets: expected one env for each, not {secret.env!r}.")
        # An unknown project leaves its place empty.
        if not _SECRET.fullmatch(version.replace("projects//", "projects/-/")):
            raise UserError(
                f"availableSecrets: {version!r} is not projects/…/secrets/…/versions/…."
            )
        seen.add(secret.env)
        yield secret.env, version


def _check_secrets(build: Build) -> None:
    used = {name for step in build.steps for name in step.secrets}
    if missing := sorted(used - set(build.secrets)):
        raise UserError(f"secretEnv {', '.join(missing)} is in no availableSecrets.secretManager.")
    if unused := sorted(set(build.secrets) - used):
        raise UserError(f"no step has the secretEnv {', '.join(unused)}: leave the secret out.")


def _check_volumes(message: Message) -> None:
    def check(where: str, volumes: Sequence[Volume]) -> None:
        for volume in volumes:
            path = posixpath.normpath(volume.path)
            if not _VOLUME.fullmatch(volume.name) or not path.startswith("/"):
                raise UserError(f"{where}: a volume has a name and an absolute path.")
            if any(path == place or path.startswith(f"{place}/") for place in _RESERVED):
                raise UserError(f"{where}: the volume's path {path} is Cloud Build's own.")
        for values in ([v.name for v in volumes], [posixpath.normpath(v.path) for v in volumes]):
            if len(set(values)) < len(values):
                raise UserError(f"{where}: two volumes have one name or one path.")

    shared = list(message.options.volumes)
    check("options.volumes", shared)
    for index, step in enumerate(message.steps):
        check(f"step #{index}", [*shared, *step.volumes])
    names = [volume.name for step in message.steps for volume in step.volumes]
    if alone := sorted({name for name in names if names.count(name) < 2}):
        raise UserError(f"one step alone has the volume {', '.join(alone)}: two are needed.")


def _foreign(message: Message) -> Iterator[str]:
    """The fields that are right, and that nobody but Cloud Build can make good."""
    for name in ("source", "images", "secrets", "git_config", "dependencies"):
        if name in message:
            yield name
    if message.available_secrets.inline:
        yield "available_secrets.inline"
    for name in ("maven_artifacts", "go_modules", "python_packages", "npm_packages"):
        if name in message.artifacts:
            yield f"artifacts.{name}"
    if message.artifacts.images:
        yield "artifacts.images"


def _listed(names: Mapping[str, str]) -> str:
    return ", ".join(sorted(names)) or "none"
