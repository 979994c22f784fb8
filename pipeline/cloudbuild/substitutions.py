"""Cloud Build's substitutions: $NAME, ${NAME}, $$, and bash's expansions such as ${NAME%%-*}."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable, Iterator, Mapping

from pipeline.errors import UserError

# https://cloud.google.com/build/docs/configuring-builds/substitute-variable-values
BUILT_IN = (
    *("PROJECT_ID", "PROJECT_NUMBER", "LOCATION", "BUILD_ID", "TRIGGER_NAME"),
    *("TRIGGER_BUILD_CONFIG_PATH", "COMMIT_SHA", "REVISION_ID", "SHORT_SHA", "REPO_NAME"),
    *("REPO_FULL_NAME", "BRANCH_NAME", "TAG_NAME", "REF_NAME", "SERVICE_ACCOUNT_EMAIL"),
    *("SERVICE_ACCOUNT", "_HEAD_BRANCH", "_BASE_BRANCH", "_HEAD_REPO_URL", "_PR_NUMBER"),
)
"""What Cloud Build fills in, the last four for pull requests; empty where it does not apply."""

_NAME = re.compile(r"[A-Z_][A-Z0-9_]*")
_USER_NAME = re.compile(r"_[A-Z0-9_]+")
_KNOWN = (
    "${NAME:-default}, ${NAME:+other}, ${NAME:offset:length}, ${#NAME}, and #, ##, %, %%, /, //, "
    "/#, /%, ^, ^^, a comma and two commas after the name"
)


class Substitutions:
    """The values of a build, which remember who was asked for.

    Attributes:
      used: the names that texts have referred to.
    """

    def __init__(
        self, values: Mapping[str, str], *, dynamic: bool = True, loose: bool = False
    ) -> None:
        """Takes the values.

        Args:
          values: of built-in names and of the build's own, which begin with an underscore.
          dynamic: whether values refer to others, and bash's expansions are known
            (`options.dynamicSubstitutions`).
          loose: whether an unknown name of the build's own stands for nothing
            (`options.substitutionOption: ALLOW_LOOSE`).
        """
        self._values = dict(values)
        self._dynamic = dynamic
        self._loose = loose
        self._asked: list[str] = []
        self.used: set[str] = set()

    def apply(self, text: str) -> str:
        """The text with its references replaced.

        Raises:
          UserError: a name is unknown, refers to itself, or an expansion is not one of bash's.
        """
        return expand(text, self.value, dynamic=self._dynamic)

    def value(self, name: str) -> str:
        """What stands for a name.

        Raises:
          UserError: nothing does, or it refers to itself.
        """
        self.used.add(name)
        if name in self._asked:
            raise UserError(f"substitutions go round: {' → '.join([*self._asked, name])}.")
        if name not in self._values:
            return self._unknown(name)
        if not self._dynamic:
            return self._values[name]
        self._asked.append(name)
        try:
            return self.apply(self._values[name])
        finally:
            self._asked.pop()

    def environment(self) -> dict[str, str]:
        """All of them, as environment variables (`automapSubstitutions`)."""
        return {name: self.value(name) for name in self._values}

    def _unknown(self, name: str) -> str:
        if name in BUILT_IN or (self._loose and _USER_NAME.fullmatch(name)):
            return ""
        if _USER_NAME.fullmatch(name):
            raise UserError(f"${name} is not among the substitutions: give it a default there.")
        raise UserError(
            f"${name} is no substitution of Cloud Build; one of your own begins with an "
            f"underscore, and $${name} leaves the text ${name} to the step."
        )


def parse(texts: Iterable[str]) -> dict[str, str]:
    """The values of `--substitutions _A=1,_B=2`; a value may hold commas.

    Raises:
      UserError: a text is not NAME=VALUE, or the name cannot be given.
    """
    pairs = [pair for text in texts for pair in re.split(r",(?=[A-Z_][A-Z0-9_]*=)", text) if pair]
    given = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not (is_user_name(name) or name in BUILT_IN):
            raise UserError(f"--substitutions {pair}: expected _NAME=VALUE, or COMMIT_SHA=VALUE.")
        given[name] = value
    return given


def is_user_name(name: str) -> bool:
    """Whether a build may define a substitution of that name."""
    return _USER_NAME.fullmatch(name) is not None


def expand(text: str, value: Callable[[str], str], *, dynamic: bool) -> str:
    """The text with its references replaced; a dollar that begins none stays.

    Args:
      text: of a field of a build.
      value: gives what stands for a name.
      dynamic: whether bash's expansions are known.

    Raises:
      UserError: an expansion is not one of bash's, or what `value` raises.
    """
    return "".join(_pieces(text, value, dynamic))


def _pieces(text: str, value: Callable[[str], str], dynamic: bool) -> Iterator[str]:
    at = 0
    while (dollar := text.find("$", at)) >= 0:
        yield text[at:dollar]
        at = dollar + 1
        if text.startswith("$", at):
            yield "$"
            at += 1
        elif name := _NAME.match(text, at):
            yield value(name[0])
            at = name.end()
        elif simple := re.compile(r"\{([A-Z_][A-Z0-9_]*)\}").match(text, at):
            yield value(simple[1])
            at = simple.end()
        elif dynamic and (start := re.compile(r"\{(#?)([A-Z_][A-Z0-9_]*)").match(text, at)):
            end = _closing(text, start.end())
            operation = text[start.end() : end]
            yield _operate(start[1], start[2], operation, value)
            at = end + 1
        else:
            yield "$"
    yield text[at:]


def _closing(text: str, start: int) -> int:
    """Where the brace closes that was opened before `start`."""
    depth, at = 1, start
    while at < len(text):
        if text[at] == "\\":
            at += 1
        elif text.startswith("${", at):
            depth += 1
            at += 1
        elif text[at] == "}":
            depth -= 1
            if not depth:
                return at
        at += 1
    raise UserError(f"{text}: a brace is not closed.")


def _operate(length: str, name: str, operation: str, value: Callable[[str], str]) -> str:
    """One of bash's parameter expansions."""

    def word(text: str) -> str:
        return expand(text, value, dynamic=True)

    whole = value(name)
    if length and not operation:
        return str(len(whole))
    if not length:
        match operation[:2]:
            case ":-":
                return whole or _unquoted(word(operation[2:]))
            case ":+":
                return _unquoted(word(operation[2:])) if whole else ""
            case "##" | "%%":
                return _cut(whole, word(operation[2:]), operation[0], longest=True)
            case "^^":
                return _cased(whole, word(operation[2:]), str.upper, first=False)
            case ",,":
                return _cased(whole, word(operation[2:]), str.lower, first=False)
        match operation[:1]:
            case "#" | "%":
                return _cut(whole, word(operation[1:]), operation[0], longest=False)
            case "^":
                return _cased(whole, word(operation[1:]), str.upper, first=True)
            case ",":
                return _cased(whole, word(operation[1:]), str.lower, first=True)
            case "/":
                return _replaced(whole, operation[1:], word)
            case ":" if part := re.fullmatch(
                r":\s*(\d+|\s-\d+|\(-\d+\))\s*(?::\s*(-?\d+)\s*)?", operation
            ):
                return _part(whole, int(part[1].strip("() ")), part[2])
    raise UserError(f"${{{length}{name}{operation}}} is not known. Known are: {_KNOWN}")


def _part(text: str, offset: int, length: str | None) -> str:
    begin = offset if offset >= 0 else len(text) + offset
    if begin < 0 or begin > len(text):
        return ""
    count = len(text) if length is None else int(length)
    end = begin + count if count >= 0 else len(text) + count
    if end < begin:
        raise UserError(f"a part of {text!r} would end before it begins.")
    return text[begin:end]


def _cut(text: str, pattern: str, side: str, *, longest: bool) -> str:
    """Without what matches at the beginning (#) or the end (%)."""
    matches, sizes = _matcher(pattern), range(len(text) + 1)
    for size in reversed(sizes) if longest else sizes:
        if side == "#" and matches(text[:size]):
            return text[size:]
        if side == "%" and matches(text[len(text) - size :]):
            return text[: len(text) - size]
    return text


def _cased(text: str, pattern: str, change: Callable[[str], str], *, first: bool) -> str:
    matches = _matcher(pattern or "?")
    count = 1 if first else len(text)
    return "".join(change(c) if matches(c) else c for c in text[:count]) + text[count:]


def _replaced(text: str, operation: str, word: Callable[[str], str]) -> str:
    where = operation[0] if operation[:1] in ("/", "#", "%") else ""
    pattern, replacement = map(word, _halves(operation[len(where) :], leading=where == "/"))
    matches, replacement = _matcher(pattern), _unquoted(replacement)
    if where in ("#", "%"):
        rest = _cut(text, pattern, where, longest=True)
        if rest == text and not matches(""):
            return text
        return replacement + rest if where == "#" else rest + replacement
    if not text and pattern and matches(""):
        return replacement
    done, at = [], 0
    while at < len(text):
        end = next((e for e in range(len(text), at, -1) if matches(text[at:e])), None)
        done.append(text[at] if end is None else replacement)
        at = end or at + 1
        if end is not None and where != "/":
            break
    return "".join(done) + text[at:]


def _halves(text: str, *, leading: bool) -> tuple[str, str]:
    """The pattern, which a slash may lead, and what follows the next slash."""
    split = re.match(rf"({'/?' if leading else ''}(?:[^\\/]|\\.)*)/?", text, re.DOTALL)
    assert split
    return split[1], text[split.end() :]


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL)


def _matcher(pattern: str) -> Callable[[str], bool]:
    """Whether a text is of a shell's pattern: *, ?, [a-z], [^a-z] and a backslash that quotes."""
    pieces = re.findall(r"\\.|\[[!^]?\]?(?:\\.|[^\]])*\]|.", pattern, re.DOTALL)
    plain = []
    for piece in pieces:
        if piece[0] == "\\" and len(piece) == 2:
            plain.append(f"[{piece[1]}]")
        elif piece[0] == "[" and len(piece) > 1:
            inner = _unquoted(piece[1:-1])
            plain.append(f"[{'!' + inner[1:] if inner[:1] == '^' else inner}]")
        else:
            plain.append("[[]" if piece == "[" else piece)
    made = re.compile(fnmatch.translate("".join(plain)))
    return lambda text: made.match(text) is not None
