"""Puts a package to work: a version on the server, the schedule moved to it, a record of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from pipeline.cluster.remote import NoScheduleError, Package, Server, Value
from pipeline.config import PipelineConfig
from pipeline.deploy.package import Built
from pipeline.deploy.repository import (
    CHANGED,
    NoHistoryError,
    Order,
    Repository,
    label,
    order_in_time,
    short,
    who,
)
from pipeline.errors import UserError
from pipeline.store import deployments
from pipeline.store.deployments import PAUSE, RELEASE, ROLLBACK, Deployments, Facts, Record

_BY_TIME = (
    "This was told by the times at which both were committed: this clone does not have their "
    "history, nor can it be fetched."
)


@dataclass(frozen=True)
class Outcome:
    """What a command came to."""

    changed: bool
    """Whether another package is at work now than before."""
    said: str
    """For people: what was done, or why nothing was."""


class Deployer:
    """Releases and takes back the pipeline of a configuration on one server."""

    def __init__(
        self, config: PipelineConfig, server: Server, target: str, repository: Repository
    ) -> None:
        """Contacts nothing yet."""
        self._config = config
        self._server = server
        self._target = target
        self._repository = repository

    def release(
        self,
        built: Built,
        package: Package,
        parameters: Mapping[str, Value],
        *,
        force: bool = False,
        allow_dirty: bool = False,
    ) -> Outcome:
        """Puts a package to work, unless it is or a newer commit's was.

        Where two are released at once, one waits for the other; then the order of the commits
        decides, not that of the releases; it is told by their times where the history cannot be
        had. What fails leaves at work what was; repeated, it is completed.

        Args:
          built: what is known of the package.
          package: to put to work.
          parameters: of the runs that the schedule starts.
          force: whatever was released before.
          allow_dirty: even if files were changed since the commit.

        Raises:
          UserError: it is refused, or the server or the store fails.
        """
        if built.name != self._config.name:
            raise UserError(
                f"the package is of the pipeline {built.name}, but the configuration is of "
                f"{self._config.name}; give the --config that it was compiled with"
            )
        if built.commit.endswith(CHANGED) and not allow_dirty:
            raise UserError(
                f"the package was compiled from files that were changed since commit "
                f"{short(built.commit)}: nobody could build it again; commit them and compile "
                "anew, or give --allow-dirty"
            )
        facts = self.facts(built, package, parameters)
        with deployments.alone(self._config) as kept:
            records = kept.all(self._target)
            now = next(iter(deployments.at_work(records)), None)
            if now and _same(now, facts):
                return self._again(now, package, parameters)
            newest, how = deployments.newest_release(records), ""
            if newest and not force:
                order, how = self._order(facts, newest)
                if older := _why_not(facts, order, newest, now):
                    return Outcome(False, _text(older, how))
            said = self._put_to_work(kept, facts, package, now)
        before = f"It was {_named(now)}." if now else ""
        return Outcome(True, _text(f"Released {_named(facts)}.", before, how, said))

    def facts(self, built: Built, package: Package, parameters: Mapping[str, Value]) -> Facts:
        """What is recorded of a release."""
        return Facts(
            pipeline=built.name,
            target=self._target,
            server=self._server.place,
            commit=built.commit,
            committed=self._repository.committed(built.commit),
            image=built.image,
            package_digest=built.digest,
            version=package.version,
            version_id="",
            parameters=deployments.parameters_text(parameters),
            who=who(self._repository),
            action=RELEASE,
        )

    def _order(self, facts: Facts, newest: Record) -> tuple[Order, str]:
        """What a commit is to the newest one, and how that was told if not by their history."""
        try:
            return self._repository.order(facts.commit, newest.commit), ""
        except NoHistoryError:
            if order := order_in_time(facts.committed, newest.committed):
                return order, _BY_TIME
            raise

    def rollback(self, commit: str | None = None, *, at_work: Record | None = None) -> Outcome:
        """Puts to work again what was before, or what was deployed of a commit, as it was built.

        Args:
          commit: or how it begins; None: what was at work before what is now.
          at_work: what to go back from: nothing is done where another one is at work by now.
            Where nothing was before it, its schedule is paused.

        Raises:
          UserError: there is nothing to go back to, or the server or the store fails.
        """
        with deployments.alone(self._config) as kept:
            records = kept.all(self._target)
            stack = deployments.at_work(records)
            now = _first(stack, self._config.name)
            if at_work and at_work.id != now.id:
                return Outcome(
                    False, f"Nothing to do: at work by now is {_named(now)} ({now.who})."
                )
            if at_work and len(stack) == 1:
                return self._pause(kept, now)
            back = _of_commit(records, commit) if commit else _before(stack)
            parameters = json.loads(back.parameters or "{}")
            package = Package(kept.package(back.version), label(back.commit))
            if _same(now, back):
                return self._again(now, package, parameters)
            fields = {name: getattr(back, name) for name in Facts.__dataclass_fields__}
            facts = replace(
                Facts(**fields),
                server=self._server.place,
                version_id="",
                who=who(self._repository),
                action=ROLLBACK,
            )
            said = self._put_to_work(kept, facts, package, now)
        done = f"Rolled back from {_named(now)} to {_named(facts)}."
        return Outcome(True, _text(done, said))

    def _pause(self, kept: Deployments, now: Record) -> Outcome:
        """Has nothing start what is at work, since nothing was before it."""
        first = f"There is nothing to roll back to: {_named(now)} is the first that was deployed."
        unscheduled = Outcome(False, f"{first} No schedule starts it.")
        if not is_scheduled(self._config):
            return unscheduled
        try:
            said = self._server.pause()
        except NoScheduleError:
            return unscheduled
        except UserError as error:
            raise UserError(
                f"{error}\n{first} Its schedule could not be paused. Repeat the command once that "
                "is mended."
            ) from None
        fields = {name: getattr(now, name) for name in Facts.__dataclass_fields__}
        facts = replace(Facts(**fields), who=who(self._repository), action=PAUSE)
        record_id = kept.begin(facts, kept.package(now.version))
        kept.complete(record_id, version_id=now.version_id)
        return Outcome(True, f"{first} {said}")

    def _again(self, now: Record, package: Package, parameters: Mapping[str, Value]) -> Outcome:
        """Makes sure that what is deployed is at work; somebody may have changed the server."""
        said = self._send(package, parameters)[1]
        done = f"Nothing to do: {_named(now)} is deployed already ({now.who})."
        mended = "" if said.startswith("Nothing to do") else f" {said}"
        return Outcome(False, f"{done}{mended}")

    def _put_to_work(
        self, kept: Deployments, facts: Facts, package: Package, before: Record | None
    ) -> str:
        record_id = kept.begin(facts, package.text)
        try:
            version_id, said = self._send(package, json.loads(facts.parameters))
        except BaseException as error:
            with suppress(Exception):  # The first error is the one to tell.
                kept.fail(record_id, str(error) or type(error).__name__)
            if isinstance(error, UserError):
                left = self._left(kept, before)
                raise UserError(f"{error}\n{_named(facts)} is not deployed. {left}") from None
            raise
        kept.complete(record_id, version_id=version_id)
        return said

    def _send(self, package: Package, parameters: Mapping[str, Value]) -> tuple[str, str]:
        """The version's id on the server, and what was done to the schedule."""
        version_id = self._server.upload(package)
        if is_scheduled(self._config):
            return version_id, self._server.schedule(package, parameters)
        try:
            return version_id, self._server.unschedule()
        except NoScheduleError:
            return version_id, ""

    def _left(self, kept: Deployments, before: Record | None) -> str:
        """What is at work after a failure."""
        if before is None or before.action == PAUSE:
            return "Nothing was at work before. Repeat the command once that is mended."
        if is_scheduled(self._config):
            package = Package(kept.package(before.version), label(before.commit))
            try:
                self._server.check_schedule(package)
            except UserError as error:
                return (
                    f"What is at work now is not known ({error}) Repeat the "
                    "command once that is mended."
                )
        return f"{_named(before)} is still at work. Repeat the command once that is mended."


def deployed(records: Sequence[Record], pipeline: str) -> Record:
    """What is at work.

    Raises:
      UserError: nothing is.
    """
    return _first(deployments.at_work(records), pipeline)


def is_scheduled(config: PipelineConfig) -> bool:
    """Whether [schedule] says when runs start."""
    return bool(config.schedule.cron or config.schedule.interval_seconds)


def _why_not(facts: Facts, order: Order, newest: Record, now: Record | None) -> str:
    """Why a commit is not released though nothing is wrong with it; empty if it is to be.

    Raises:
      UserError: it is refused.
    """
    commit, undone = short(facts.commit), ""
    if now and now.version != newest.version:
        undone = f"rolled back to {short(now.commit)}"
    elif now and now.action == PAUSE:
        undone = "paused"
    if order is Order.OLDER:
        return (
            f"Nothing to do: a newer commit is deployed already, {short(newest.commit)} "
            f"({newest.who}){undone and f', and {undone}'}. {commit} is older."
        )
    if order is Order.APART:
        raise UserError(
            f"{commit} does not follow {short(newest.commit)}, which is deployed: one is on "
            "another branch, or history was rewritten; bring them together, or give --force"
        )
    if order is Order.SAME and now and undone:
        raise UserError(
            f"{commit} was {undone} ({now.who}); push a commit that mends it, or give --force"
        )
    return ""


def _first(stack: Sequence[Record], pipeline: str) -> Record:
    if not stack:
        raise UserError(
            f"nothing of {pipeline} is deployed there yet; `python -m pipeline deploy release` "
            "deploys what `deploy compile` has written"
        )
    return stack[0]


def _before(stack: Sequence[Record]) -> Record:
    if len(stack) < 2:
        raise UserError(
            f"there is nothing to roll back to: {_named(stack[0])} is the first that was deployed"
        )
    return stack[1]


def _of_commit(records: Sequence[Record], commit: str) -> Record:
    """The newest deployment of a commit, which may be abbreviated."""
    found = [r for r in records if r.outcome == deployments.COMPLETE and _is_of(r, commit)]
    commits = list(dict.fromkeys(r.commit for r in found))
    if len(commits) == 1:
        return found[0]
    known = dict.fromkeys(short(r.commit) for r in records if r.outcome == deployments.COMPLETE)
    raise UserError(
        f"{commit} is the beginning of several commits that were deployed: {', '.join(commits)}"
        if commits
        else f"no commit {commit} was ever deployed here; there are: {', '.join(known)}"
    )


def _is_of(record: Record, commit: str) -> bool:
    return record.commit == commit or record.commit.startswith(commit)


def _same(now: Facts, wanted: Facts) -> bool:
    """Whether what is wanted is at work already."""
    return now.action != PAUSE and all(
        getattr(now, name) == getattr(wanted, name) for name in ("version", "server", "parameters")
    )


def _text(*sentences: str) -> str:
    return " ".join(filter(None, sentences))


def _named(facts: Facts) -> str:
    return f"{short(facts.commit)} (version {facts.version})"
