"""TFRecord files without TensorFlow: the form of warm-up requests and of the gate's expected answers."""

import os
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path

from serving.status import Code, StatusError


def _crc32c_table() -> list[int]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = (byte >> 1) ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


_TABLE = _crc32c_table()


def _masked_crc(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    # TFRecord masks its checksums, so that a checksum of data that holds checksums stays useful.
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def write_records(path: str | os.PathLike, records: Iterable[bytes]) -> int:
    """Writes byte strings as an uncompressed TFRecord file.

    Returns:
        The number of records written.
    """
    count = 0
    with open(path, "wb") as file:
        for record in records:
            length = struct.pack("<Q", len(record))
            file.write(length + struct.pack("<I", _masked_crc(length)))
            file.write(record + struct.pack("<I", _masked_crc(record)))
            count += 1
    return count


def read_records(path: str | os.PathLike) -> Iterator[bytes]:
    """Yields the records of an uncompressed TFRecord file.

    Raises:
        StatusError: DATA_LOSS, the file is cut short or a checksum is wrong.
    """
    data = Path(path).read_bytes()
    offset = 0
    while offset < len(data):
        header, checksum = data[offset : offset + 8], data[offset + 8 : offset + 12]
        if len(checksum) < 4 or struct.unpack("<I", checksum)[0] != _masked_crc(header):
            raise StatusError(Code.DATA_LOSS, f"{path} is not a whole TFRecord file: bad length at byte {offset}.")
        start = offset + 12
        end = start + struct.unpack("<Q", header)[0]
        record, checksum = data[start:end], data[end : end + 4]
        if len(checksum) < 4 or struct.unpack("<I", checksum)[0] != _masked_crc(record):
            raise StatusError(Code.DATA_LOSS, f"{path} is not a whole TFRecord file: bad record at byte {offset}.")
        yield record
        offset = end + 4
