"""Compares what the judge decoded with what is known to have been in front of the devices.

known.py bars PICTURE            names the eight vertical colour bars, left to right, one letter each
known.py voice SOUND REFERENCE   how much of the recorded voice is in the sound: best correlation over all shifts, 0..1
"""

import sys
import wave

import numpy

# Of 255. Full bars are at 191 or 255, empty ones at 0; coding and colour ranges move both by less than this leaves.
BAR_ON = 120

LETTERS = {
    (1, 1, 1): "W", (1, 1, 0): "Y", (0, 1, 1): "C", (0, 1, 0): "G",
    (1, 0, 1): "M", (1, 0, 0): "R", (0, 0, 1): "B", (0, 0, 0): "K",
}  # fmt: skip


def bars(picture):
    """Mean colour of the middle of each eighth, in a strip under the text that the driver prints at the top."""
    height, width, _ = picture.shape
    strip = picture[height * 17 // 20 : height * 19 // 20]
    letters = ""
    for bar in range(8):
        middle = strip[:, width * (4 * bar + 1) // 32 : width * (4 * bar + 3) // 32]
        mean = middle.reshape(-1, 3).mean(axis=0)
        letters += LETTERS[tuple(int(value > BAR_ON) for value in mean)]
    return letters


def correlation(sound, reference):
    """Normalised cross-correlation, so that level and delay do not count."""
    reference = reference - reference.mean()
    size = 1 << (len(sound) + len(reference)).bit_length()
    product = numpy.fft.rfft(sound, size) * numpy.conj(numpy.fft.rfft(reference, size))
    shifts = numpy.fft.irfft(product, size)[: len(sound) - len(reference) + 1]
    energy = numpy.concatenate([[0.0], numpy.cumsum(numpy.square(sound))])
    windows = energy[len(reference) :] - energy[: len(shifts)]
    scale = numpy.sqrt(numpy.maximum(windows, 1e-9) * numpy.sum(numpy.square(reference)))
    return float(numpy.max(shifts / scale))


def read_wav(path):
    with wave.open(path) as file:
        frames = numpy.frombuffer(file.readframes(file.getnframes()), numpy.int16)
        return frames[:: file.getnchannels()].astype(numpy.float64) / 32768


def main(arguments):
    match arguments:
        case ["bars", picture]:
            from PIL import Image

            print(bars(numpy.asarray(Image.open(picture).convert("RGB"))))
        case ["voice", sound, reference]:
            print(round(correlation(read_wav(sound), read_wav(reference)), 3))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
