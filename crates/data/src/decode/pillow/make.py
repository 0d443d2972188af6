#!/usr/bin/env python3
"""Small pictures of every kind, and what Pillow makes of them.

    python make.py     write pictures.json beside this file

A case is a file (hexadecimal) and the bytes of `Image.open(file).convert("RGB")`, or null where Pillow refuses it.
`tolerance` is the largest difference that is allowed: 0 except for JPEG and lossy WebP, whose decoders round
differently. Needs pillow and numpy; made with Pillow 13.0, libjpeg-turbo and libwebp 1.6.
"""

import io
import json
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

HERE = Path(__file__).resolve().parent
HEIGHT, WIDTH = 9, 13


def levels(channels, dtype=np.uint8):
    """Smooth waves with a little noise, other ones in each channel."""
    y, x, c = np.mgrid[0:HEIGHT, 0:WIDTH, 0:channels]
    wave = 0.5 + 0.4 * np.sin(x / 3 + c) * np.cos(y / 2 - c) + 0.1 * np.random.default_rng(c.size).random(c.shape)
    return (wave.clip(0, 1) * np.iinfo(dtype).max).astype(dtype)


def image(mode):
    if mode == "1":
        return Image.fromarray(levels(1)[..., 0]).convert("1")
    if mode == "P":
        return Image.fromarray(levels(3)).quantize(11)
    return Image.frombytes(mode, (WIDTH, HEIGHT), levels(len(mode)).tobytes())


def saved(picture, kind, **options):
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(colour_type, depth, rows, extra=b"", interlace=0, size=(WIDTH, HEIGHT)):
    """A PNG of packed rows, none of them filtered."""
    header = struct.pack(">IIBBBBB", *size, depth, colour_type, 0, 0, interlace)
    data = b"".join(b"\0" + row for row in rows)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def packed(values, depth):
    """Rows of samples of `depth` bits."""
    bits = (values[..., None] >> np.arange(depth - 1, -1, -1)) & 1
    return [np.packbits(row.reshape(-1)).tobytes() for row in bits]


def wide(channels):
    return [row.tobytes() for row in levels(channels, np.uint16).astype(">u2")]


def with_adobe(jpeg, transform):
    """The same scans, with the marker of Adobe as the only application segment; none if `transform` is."""
    out, at = jpeg[:2], 2
    if transform is not None:
        out += b"\xff\xee\x00\x0eAdobe\x00\x64\0\0\0\0" + bytes([transform])
    while jpeg[at + 1] != 0xDA:
        length = 2 + struct.unpack(">H", jpeg[at + 2 : at + 4])[0]
        if jpeg[at + 1] not in (0xE0, 0xEE):
            out += jpeg[at : at + length]
        at += length
    return out + jpeg[at:]


def bmp(bits, height, pixels, palette=b"", compression=0, masks=b"", width=WIDTH):
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, len(pixels), 0, 0, len(palette) // 4, 0)
    start = 14 + len(header) + len(masks) + len(palette)
    return b"BM" + struct.pack("<IHHI", start + len(pixels), 0, 0, start) + header + masks + palette + pixels


def tiff(samples, bits, meaning, pixels, order="<", planes=False, orientation=1):
    """An uncompressed TIFF of one strip, or of one for each plane."""
    strips = samples if planes else 1
    lists = [(258, 3, [bits] * samples), (273, 4, [0] * strips), (279, 4, [len(pixels) // strips] * strips)]
    ones = [(256, 3, WIDTH), (257, 3, HEIGHT), (259, 3, 1), (262, 3, meaning), (274, 3, orientation), (277, 3, samples)]
    entries = lists + [(tag, kind, [value]) for tag, kind, value in ones + [(278, 3, HEIGHT), (284, 3, 1 + planes)]]
    beyond, start = b"", 8 + 2 + 12 * len(entries) + 4
    extra = sum(len(values) * (2 if kind == 3 else 4) for _, kind, values in entries if len(values) > 1)
    directory = struct.pack(order + "H", len(entries))
    for tag, kind, values in sorted(entries):
        if tag == 273:
            values = [start + extra + i * (len(pixels) // strips) for i in range(strips)]
        data = struct.pack(f"{order}{len(values)}{'H' if kind == 3 else 'I'}", *values)
        if len(data) > 4:
            beyond, data = beyond + data, struct.pack(order + "I", start + len(beyond))
        elif len(values) > 1:
            extra -= len(data)
        directory += struct.pack(order + "HHI", tag, kind, len(values)) + data.ljust(4, b"\0")
    signature = b"II*\0" if order == "<" else b"MM\0*"
    return signature + struct.pack(order + "I", 8) + directory + struct.pack(order + "I", 0) + beyond + pixels


def cases():
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA"):
        yield f"png {mode}", 0, saved(image(mode), "PNG")
    yield "png P with transparency", 0, saved(image("P"), "PNG", transparency=bytes([0, 90, 255]))
    yield "png P of 4 colours", 0, saved(Image.fromarray(levels(3)).quantize(4), "PNG")
    for depth in (2, 4):
        yield f"png L of {depth} bits", 0, png(0, depth, packed(levels(1)[..., 0] >> (8 - depth), depth))
    yield "png L with transparency", 0, png(0, 8, [row.tobytes() for row in levels(1)], chunk(b"tRNS", b"\0\x80"))
    yield "png P with too few colours", 0, png(3, 8, [b"\0\1\2\xff"], chunk(b"PLTE", bytes(range(10, 70, 10))), 0, (4, 1))
    yield "png I;16", 0, png(0, 16, wide(1))
    yield "png I;16 of small levels", 0, png(0, 16, [np.arange(240, 253, dtype=">u2").tobytes()] * HEIGHT)
    yield "png I;16 with transparency", 0, png(0, 16, [np.arange(250, 263, dtype=">u2").tobytes()] * HEIGHT, chunk(b"tRNS", b"\0\xfe"))
    yield "png LA of 16 bits", 0, png(4, 16, wide(2))
    yield "png RGB of 16 bits", 0, png(2, 16, wide(3))
    yield "png RGBA of 16 bits", 0, png(6, 16, wide(4))
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    rows = [row.tobytes() for x, y, dx, dy in passes for row in levels(3)[y::dy, x::dx]]
    yield "png RGB interlaced", 0, png(2, 8, rows, interlace=1)

    for mode in ("L", "RGB", "CMYK"):
        for progressive in (False, True):
            name = f"jpeg {mode}" + " progressive" * progressive
            yield name, 2, saved(image(mode), "JPEG", quality=80, progressive=progressive, optimize=True, subsampling=0)
    for subsampling in (1, 2):
        for progressive in (False, True):
            name = f"jpeg RGB subsampled {subsampling}" + " progressive" * progressive
            data = saved(image("RGB"), "JPEG", quality=80, progressive=progressive, optimize=True, subsampling=subsampling)
            yield name, 8, data
    colour = saved(image("RGB"), "JPEG", quality=80, optimize=True, subsampling=0)
    four = saved(image("CMYK"), "JPEG", quality=80, optimize=True)
    yield "jpeg stored as RGB", 2, with_adobe(colour, 0)
    yield "jpeg without application segments", 2, with_adobe(colour, None)
    yield "jpeg YCCK", 2, with_adobe(four, 2)
    yield "jpeg CMYK of Adobe", 2, with_adobe(four, 0)
    yield "jpeg CMYK without application segments", 2, with_adobe(four, None)
    yield "jpeg with restart markers", 2, saved(image("RGB"), "JPEG", optimize=True, subsampling=0, restart_marker_blocks=1)
    turned = Image.Exif()
    turned[0x112] = 6
    yield "jpeg turned by EXIF", 2, saved(image("RGB"), "JPEG", optimize=True, subsampling=0, exif=turned)
    yield "jpeg with bytes after it", 2, colour + b"more"
    yield "jpeg with bytes before its end", 2, colour[:-2] + b"\x11\x22" + colour[-2:]

    for mode in ("RGB", "RGBA"):
        yield f"webp {mode} without loss", 0, saved(image(mode), "WEBP", lossless=True, exact=True)
        yield f"webp {mode}", 2, saved(image(mode), "WEBP", quality=80, exact=True)
    frames = [image("RGB"), Image.new("RGB", (WIDTH, HEIGHT), (9, 8, 7))]
    yield "webp animated", 0, saved(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True)

    for mode in ("1", "L", "P", "RGB"):
        yield f"bmp {mode}", 0, saved(image(mode), "BMP")
    nibbles = [row + bytes(-len(row) % 4) for row in packed(levels(1)[..., 0] >> 4, 4)]
    yield "bmp of 4 bits", 0, bmp(4, HEIGHT, b"".join(nibbles), palette=bytes(range(64)))
    yield "bmp from the top", 0, bmp(32, -HEIGHT, levels(4).tobytes())
    masks = struct.pack("<III", 0xFF0000, 0xFF00, 0xFF)
    yield "bmp with masks", 0, bmp(32, HEIGHT, levels(4).tobytes(), compression=3, masks=masks)

    yield "ppm", 0, saved(image("RGB"), "PPM")
    yield "pgm", 0, saved(image("L"), "PPM")
    yield "ppm with a comment", 0, b"P6 # made\n#by hand\n2 1\n255\n\1\2\3\4\5\6"
    yield "ppm of 100", 0, b"P6 2 1 100\n\0\1\x32\x63\x64\xff"
    yield "ppm of 1000", 0, b"P6 2 1 1000\n" + struct.pack(">6H", 0, 1, 2, 500, 999, 1000)
    yield "ppm of 65535", 0, b"P6 2 1 65535\n" + struct.pack(">6H", 0, 128, 129, 257, 65534, 65535)
    yield "pgm of 100", 0, b"P5 6 1 100\n\0\1\x32\x63\x64\xff"
    yield "pgm of 1000", 0, b"P5 6 1 1000\n" + struct.pack(">6H", 0, 1, 2, 3, 4, 1000)
    yield "pgm of 65535", 0, b"P5 6 1 65535\n" + struct.pack(">6H", 0, 128, 254, 255, 256, 65535)

    for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK"):
        yield f"tiff {mode}", 0, saved(image(mode), "TIFF")
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "packbits"):
        yield f"tiff RGB in {compression}", 0, saved(image("RGB"), "TIFF", compression=compression)
    yield "tiff L with a predictor", 0, saved(image("L"), "TIFF", compression="tiff_lzw", tiffinfo={317: 2})
    yield "tiff RGB in strips", 0, saved(image("RGB"), "TIFF", compression="tiff_lzw", strip_size=4 * WIDTH * 3)
    yield "tiff of white zeros", 0, tiff(1, 8, 0, levels(1).tobytes())
    yield "tiff of 16 bits", 0, tiff(1, 16, 1, (levels(1, np.uint16) // 99).astype("<u2").tobytes())
    yield "tiff RGB of 16 bits", 0, tiff(3, 16, 2, levels(3, np.uint16).astype("<u2").tobytes())
    yield "tiff RGB of 16 bits, the high byte first", 0, tiff(3, 16, 2, levels(3, np.uint16).astype(">u2").tobytes(), ">")
    yield "tiff RGB in planes", 0, tiff(3, 8, 2, levels(3).transpose(2, 0, 1).tobytes(), planes=True)
    for orientation in range(1, 9):
        data = tiff(3, 8, 2, levels(3).tobytes(), orientation=orientation)
        yield f"tiff of orientation {orientation}", 0, data
    for mode in ("L", "RGB"):
        yield f"tiff {mode} in JPEG", 2, saved(image(mode), "TIFF", compression="jpeg", quality=90)


def record(name, tolerance, file):
    picture = Image.open(io.BytesIO(file))
    rgb = picture.convert("RGB")
    size = {"width": rgb.width, "height": rgb.height}
    return {"name": name, "tolerance": tolerance, "file": file.hex(), **size, "pixels": rgb.tobytes().hex()}


records = [record(*case) for case in cases()]
text = ",\n".join(json.dumps(record) for record in records)
(HERE / "pictures.json").write_text(f"[\n{text}\n]\n")
print(len(records), "pictures")
