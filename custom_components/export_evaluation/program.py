"""Posts the records of an evaluation as JSON. Any image with Python runs it: it needs nothing else.

The container gets it as the text of `python -c`, so it imports nothing of this project. A token is
taken from the variable EXPORT_TOKEN, never from an argument, and never repeated in a message.
"""

import argparse
import base64
import gzip
import hashlib
import json
import os
import sys
import time
import urllib.error
import urllib.request

TRIES = 5
TIMEOUT_SECONDS = 30
SECONDS_BEFORE_SECOND_TRY = 1.0
POSTED, FAILED, REFUSED = 0, 1, 2


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Urllib would turn the POST into a GET, and take the token to wherever it is led."""

    def redirect_request(self, *_):  # type: ignore[no-untyped-def]
        return None


def main(argv: "list[str] | None" = None) -> int:
    """Posts the records that the command line holds; the exit code."""
    parser = argparse.ArgumentParser(prog="export", description="Post an evaluation's records.")
    parser.add_argument("--url", required=True, help="where to")
    parser.add_argument("--records", required=True, help="base64 of gzip of a JSON list")
    parser.add_argument("--pipeline", required=True, help="kept with each record")
    parser.add_argument("--run", required=True, help="kept with each record")
    arguments = parser.parse_args(argv)
    records = json.loads(gzip.decompress(base64.b64decode(arguments.records)))
    origin = {"pipeline": arguments.pipeline, "run": arguments.run}
    body = json.dumps([{**origin, **record} for record in records], allow_nan=False).encode()
    outcome = post(arguments.url, body, os.environ.get("EXPORT_TOKEN", ""))
    if outcome == POSTED:
        print(f"export: {len(records)} records posted to {arguments.url}")
    return outcome


def post(url: str, body: bytes, token: str) -> int:
    """Posts `body`, again while the other side is at fault; POSTED, FAILED or REFUSED.

    The same body has the same Idempotency-Key, so that what came through twice is seen to be one.
    """
    headers = {
        "Content-Type": "application/json",
        "Idempotency-Key": hashlib.sha256(body).hexdigest(),
        **({"Authorization": f"Bearer {token}"} if token else {}),
    }
    opener = urllib.request.build_opener(_NoRedirect)
    wait = SECONDS_BEFORE_SECOND_TRY
    for left in reversed(range(TRIES)):
        request = urllib.request.Request(url, body, headers)
        try:
            with opener.open(request, timeout=TIMEOUT_SECONDS):
                return POSTED
        except urllib.error.HTTPError as error:
            said = error.read(300).decode(errors="replace").strip()
            reason, code = f"it answered {error.code} {error.reason}: {said}", error.code
            if code < 500 and code not in (408, 429):
                _say(url, f"{reason} {_advice(code, token)}", token)
                return REFUSED
        except (OSError, ValueError) as error:
            reason = f"it cannot be reached: {getattr(error, 'reason', error)}"
        _say(url, f"{reason}; {f'again in {wait:.0f} s' if left else 'given up'}", token)
        if left:
            time.sleep(wait)
            wait *= 2
    return FAILED


def _advice(code: int, token: str) -> str:
    if code in (401, 403):
        return f"({'is EXPORT_TOKEN right?' if token else 'EXPORT_TOKEN is not set'})"
    if code in (301, 302, 303, 307, 308):
        return "(put the address that it leads to into export.url)"
    return "(is export.url right?)"


def _say(url: str, what: str, token: str) -> None:
    message = f"export: {url}: {what}"
    print(message.replace(token, "***") if token else message, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
