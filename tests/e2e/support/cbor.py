"""Bodies in CBOR, in the dialect of the Java SDKs. Encoding is implemented here, decoding is botocore's."""

import datetime

from botocore.parsers import BaseCBORParser

CONTENT_TYPE = "application/x-amz-cbor-1.1"
# Major types, shifted to their bits in the first byte.
UNSIGNED, NEGATIVE, BYTES, TEXT, TAG = (major << 5 for major in (0, 1, 2, 3, 6))
TAG_TIME = 1
LIST, MAP, BREAK = b"\x9f", b"\xbf", b"\xff"


def encode(value):
    """Encodes a value like the Java SDKs: lists and maps end with a break, times have tag 1 and whole milliseconds."""
    match value:
        case bool():
            return b"\xf5" if value else b"\xf4"
        case int():
            return head(UNSIGNED, value) if value >= 0 else head(NEGATIVE, -1 - value)
        case str():
            return head(TEXT, len(value.encode())) + value.encode()
        case bytes():
            return head(BYTES, len(value)) + value
        case datetime.datetime():
            return head(TAG, TAG_TIME) + encode(round(value.timestamp() * 1000))
        case list():
            return LIST + b"".join(map(encode, value)) + BREAK
        case dict():
            return MAP + b"".join(encode(key) + encode(member) for key, member in value.items()) + BREAK
    raise TypeError(f"no CBOR for {type(value)}")


def head(major, argument):
    """Encodes a major type with its argument in the shortest form."""
    if argument < 24:
        return bytes([major | argument])
    width = next(width for width in range(4) if argument < 1 << (8 << width))
    return bytes([major | 24 + width]) + argument.to_bytes(1 << width, "big")


def decode(body):
    """Decodes the body of a response."""
    parser = BaseCBORParser()
    return parser.parse_data_item(parser.get_peekable_stream_from_bytes(body))
