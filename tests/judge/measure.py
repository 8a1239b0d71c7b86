"""What a subscriber can say of decoded pictures and sound. Fed with frames and the time they came; no room here."""

import time

import numpy
from livekit import rtc

# Audio under this level counts as a gap: the worker's tone is at -20 dBFS, concealment fades under it in a few packets.
SILENCE_DBFS = -50.0

# The worker's test pattern lights its upper right corner for a tenth of each second, while its tone beeps at three times its
# pitch. The corner is a blue bar otherwise.
FLASH_LUMA = 140
TONE_HZ = 440
BEEP_HZ = 1320

# On track end the server sends 2x2 blank pictures to flush decoders.
BLANK_SIZE = 2


def now():
    """CLOCK_MONOTONIC, the clock of every stamp the judge prints."""
    return time.monotonic()


def luma(frame):
    """The brightness of a frame, lines by columns."""
    planar = frame if frame.type == rtc.VideoBufferType.I420 else frame.convert(rtc.VideoBufferType.I420)
    pixels = numpy.frombuffer(planar.data, numpy.uint8, frame.width * frame.height)
    return pixels.reshape(frame.height, frame.width)


class Video:
    """Decoded frames of one track."""

    def __init__(self):
        self.frames = 0
        self.first = None
        self.size = (0, 0)
        self.max_gap = 0.0
        self.flashed = None
        self._lit = False
        self._last = None
        self._window_frames = 0
        self._window_gap = 0.0

    def frame(self, width, height, at):
        """Counts one frame; returns False for the server's blank ones."""
        if width <= BLANK_SIZE or height <= BLANK_SIZE:
            return False
        if self._last is not None:
            self._window_gap = max(self._window_gap, at - self._last)
            self.max_gap = max(self.max_gap, self._window_gap)
        self.first = self.first or at
        self._last = at
        self.size = (width, height)
        self.frames += 1
        self._window_frames += 1
        return True

    def look(self, luma, at):
        """Takes the brightness of a frame, lines by columns; remembers when the corner was lit."""
        lines, columns = luma.shape
        lit = float(luma[: lines // 10, -(lines // 10) :].mean()) > FLASH_LUMA
        if lit and not self._lit:
            self.flashed = at
        self._lit = lit

    def report(self, seconds, at):
        """The last window, and starts the next. A freeze that still lasts counts already."""
        if self._last is not None:
            self._window_gap = max(self._window_gap, at - self._last)
            self.max_gap = max(self.max_gap, self._window_gap)
        window = {
            "width": self.size[0],
            "height": self.size[1],
            "fps": round(self._window_frames / seconds, 1),
            "frames": self.frames,
            "gap_ms": round(self._window_gap * 1000),
            "max_gap_ms": round(self.max_gap * 1000),
            "mark": self.flashed,
        }
        self._window_frames, self._window_gap = 0, 0.0
        return window


class Audio:
    """Decoded sound of one track, mono, 10 ms at a time."""

    def __init__(self, rate):
        self.rate = rate
        self.first = None
        self.heard = 0.0
        self.max_gap = 0.0
        self.beeped = None
        self._beeping = False
        self._silent_for = 0.0
        self._window = []

    def _listen(self, wave, at):
        """Remembers when a beep began."""
        turn = numpy.arange(len(wave)) * (2j * numpy.pi / self.rate)
        power = {hz: abs(numpy.dot(wave, numpy.exp(turn * hz))) for hz in (TONE_HZ, BEEP_HZ)}
        beeping = power[BEEP_HZ] > power[TONE_HZ]
        if beeping and not self._beeping:
            self.beeped = at
        self._beeping = beeping

    def frame(self, samples, at):
        """Takes int16 samples. A gap is time without sound after the first sound."""
        seconds = len(samples) / self.rate
        wave = samples.astype(numpy.float32) / 32768
        self._window.append(wave)
        if level_dbfs(wave) > SILENCE_DBFS:
            self.first = self.first or at
            self.heard += seconds
            self._silent_for = 0.0
            self._listen(wave, at)
        elif self.first is not None:
            self._silent_for += seconds
            self.max_gap = max(self.max_gap, self._silent_for)

    def report(self):
        """The last window, and starts the next."""
        wave = numpy.concatenate(self._window) if self._window else numpy.zeros(0, numpy.float32)
        self._window = []
        return {
            "seconds": round(len(wave) / self.rate, 2),
            "level_dbfs": round(level_dbfs(wave), 1),
            "pitch_hz": round(pitch_hz(wave, self.rate), 1),
            "heard_s": round(self.heard, 2),
            "max_gap_ms": round(self.max_gap * 1000),
            "mark": self.beeped,
        }


def level_dbfs(wave):
    """RMS against full scale; -120 for digital silence."""
    if not len(wave):
        return -120.0
    return float(10 * numpy.log10(max(numpy.mean(numpy.square(wave)), 1e-12)))


def pitch_hz(wave, rate):
    """Strongest partial, interpolated between bins; 0 when there is too little sound to tell."""
    if len(wave) < rate // 10 or level_dbfs(wave) < SILENCE_DBFS:
        return 0.0
    spectrum = numpy.log(numpy.abs(numpy.fft.rfft(wave * numpy.hanning(len(wave)))) + 1e-12)
    peak = int(numpy.argmax(spectrum[1:-1])) + 1
    left, top, right = spectrum[peak - 1 : peak + 2]
    curve = left - 2 * top + right
    shift = 0.5 * (left - right) / curve if curve else 0.0
    return float((peak + shift) * rate / len(wave))
