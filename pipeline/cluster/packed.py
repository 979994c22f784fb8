"""A compiled pipeline as text: small, the same on every machine, and at home where it is unpacked.

Files of the project have an absolute path in a compiled pipeline. On the way to another machine,
such as a container, the project's folder is replaced by a mark, and there by where it lies.
"""

from __future__ import annotations

import base64
import gzip
import zlib
from typing import TYPE_CHECKING, Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message

from pipeline.config import PROJECT
from pipeline.errors import UserError

if TYPE_CHECKING:
    from tfx.proto.orchestration import pipeline_pb2

MARK = "{PROJECT}"
MAX_BYTES = 131_071
"""What Linux lets one argument of a program hold."""


def pack(ir: pipeline_pb2.Pipeline) -> str:
    """`ir` as base64 of gzip; the same text for the same pipeline.

    Raises:
      UserError: it is longer than an argument may be.
    """
    return pack_text(_relocated(ir, str(PROJECT), MARK).SerializeToString(deterministic=True))


def unpack(text: str) -> pipeline_pb2.Pipeline:
    """The pipeline in `text`, with this machine's folder of the project.

    Raises:
      UserError: the text is something else.
    """
    from tfx.proto.orchestration import pipeline_pb2

    try:
        ir = pipeline_pb2.Pipeline.FromString(unpack_text(text))
    except DecodeError:
        raise UserError("the packed pipeline is damaged: compile it anew") from None
    return _relocated(ir, MARK, str(PROJECT))


def pack_text(content: bytes) -> str:
    """Any content as base64 of gzip.

    Raises:
      UserError: it is longer than an argument may be.
    """
    text = base64.b64encode(gzip.compress(content, mtime=0)).decode()
    if len(text) > MAX_BYTES:
        raise UserError(
            f"the packed pipeline has {len(text):,} bytes, and one argument of a container holds "
            f"{MAX_BYTES:,} at most: shorten lists and texts in the configuration"
        )
    return text


def unpack_text(text: str) -> bytes:
    """What `pack_text` was given.

    Raises:
      UserError: the text is something else.
    """
    try:
        content = base64.b64decode(text, validate=True)
        return gzip.decompress(content or b"nothing")
    except (ValueError, OSError, EOFError, zlib.error):
        raise UserError("the packed pipeline is damaged: compile it anew") from None


def _relocated(ir: pipeline_pb2.Pipeline, old: str, new: str) -> pipeline_pb2.Pipeline:
    """A copy of `ir` with `old` replaced by `new` in every text."""
    copy = type(ir)()
    copy.CopyFrom(ir)
    replace(copy, old, new)
    return copy


def replace(message: Message, old: str, new: str) -> None:
    """Replaces `old` by `new` in every text of `message`, except the keys of maps."""
    for field, value in message.ListFields():
        if field.message_type and field.message_type.GetOptions().map_entry:
            _replace_in_map(value, field.message_type.fields_by_name["value"], old, new)
        elif field.type == field.TYPE_STRING:
            if field.is_repeated:
                value[:] = [text.replace(old, new) for text in value]
            else:
                setattr(message, field.name, value.replace(old, new))
        elif field.type == field.TYPE_MESSAGE:
            for below in value if field.is_repeated else [value]:
                replace(below, old, new)


def _replace_in_map(values: Any, value_field: FieldDescriptor, old: str, new: str) -> None:
    for key in values:
        if value_field.type == value_field.TYPE_MESSAGE:
            replace(values[key], old, new)
        elif value_field.type == value_field.TYPE_STRING:
            values[key] = values[key].replace(old, new)
