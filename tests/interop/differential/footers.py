"""Footers of Parquet files as other writers leave them: read, changed and written back.

A footer is Thrift in its compact protocol. A struct is a dict of `{field: (type, value)}` here, a list `(type, values)`.
"""

import struct

TRUE, FALSE, BYTE, DOUBLE, BINARY, LIST, STRUCT = 1, 2, 3, 7, 8, 9, 12
INTEGERS = (4, 5, 6)

# Fields of parquet.thrift.
ROW_GROUPS, KEY_VALUES, CREATED_BY = 4, 5, 6
COLUMNS, META_DATA, STATISTICS = 1, 3, 12
NULL_COUNT, MAX_VALUE, MIN_VALUE = 3, 5, 6


class Reader:
    def __init__(self, data):
        self._data, self._at = data, 0

    def _bytes(self, count):
        self._at += count
        return self._data[self._at - count : self._at]

    def _number(self):
        number = shift = 0
        while True:
            [byte] = self._bytes(1)
            number |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return number

    def _signed(self):
        number = self._number()
        return (number >> 1) ^ -(number & 1)

    def value(self, of):
        if of in INTEGERS:
            return self._signed()
        match of:
            case 1 | 2:
                return of == TRUE
            case 3:
                return self._bytes(1)
            case 7:
                return self._bytes(8)
            case 8:
                return self._bytes(self._number())
            case 9:
                return self._list()
            case 12:
                return self.struct()
        raise ValueError(f"a footer has no type {of}")

    def _list(self):
        [head] = self._bytes(1)
        count, of = head >> 4, head & 15
        count = self._number() if count == 15 else count
        # In a list, a boolean is a byte of its own.
        return of, [self.value(BYTE if of in (TRUE, FALSE) else of) for _ in range(count)]

    def struct(self):
        fields, field = {}, 0
        while (head := self._bytes(1)[0]) != 0:
            field = field + (head >> 4) if head >> 4 else self._signed()
            fields[field] = (head & 15, self.value(head & 15))
        return fields


def _number(number):
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _signed(number):
    return _number(number << 1 if number >= 0 else (-number << 1) - 1)


def _value(of, value):
    if of in INTEGERS:
        return _signed(value)
    match of:
        case 1 | 2:
            return b""
        case 3 | 7:
            return value
        case 8:
            return _number(len(value)) + value
        case 9:
            inner, values = value
            head = bytes([len(values) << 4 | inner]) if len(values) < 15 else bytes([0xF0 | inner]) + _number(len(values))
            return head + b"".join(_value(BYTE if inner in (TRUE, FALSE) else inner, each) for each in values)
        case 12:
            return _struct(value)
    raise ValueError(f"a footer has no type {of}")


def _struct(fields):
    out, last = bytearray(), 0
    for field, (of, value) in sorted(fields.items()):
        of = (TRUE if value else FALSE) if of in (TRUE, FALSE) else of
        step = field - last
        out += bytes([step << 4 | of]) if 0 < step < 16 else bytes([of]) + _signed(field)
        out += _value(of, value)
        last = field
    return bytes(out) + b"\0"


def change(path, changed):
    """Gives `changed` the footer of the file, to change it in place."""
    data = path.read_bytes()
    [length] = struct.unpack("<I", data[-8:-4])
    body, footer = data[: -8 - length], Reader(data[-8 - length : -8]).struct()
    changed(footer)
    written = _struct(footer)
    path.write_bytes(body + written + struct.pack("<I", len(written)) + b"PAR1")


def chunks(footer, column):
    """The metadata of a column in each row group."""
    _, groups = footer[ROW_GROUPS][1]
    for group in groups:
        _, columns = group[COLUMNS][1]
        yield columns[column][META_DATA][1]
