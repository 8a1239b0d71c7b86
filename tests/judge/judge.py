"""Joins a room with the official SDK and reports what it really decodes, one JSON object a line.

Every line has "event" and "t", seconds on CLOCK_MONOTONIC. Once a second a "second" line sums up each track. The
judge ends when every --until holds (exit code 0), at --seconds (1 if an --until is missing), when it is told to, or
when standard input closes under --commands, so that it never outlives the test that runs it.
"""

import asyncio
import json
import os
import signal
import sys
import wave

import numpy
from livekit import rtc

from measure import Audio, Video, luma, now
from options import options_parser

AUDIO_RATE = 48000
# Commands longer than this are no commands.
COMMAND_BYTES = 65536
# What `publish_picture` publishes.
PICTURE = (320, 240)


def emit(event, at=None, **fields):
    print(json.dumps({"event": event, "t": round(now() if at is None else at, 4), **fields}), flush=True)


class Judge:
    """A subscriber. `emit` gets every event; the module's own prints it as JSON."""

    def __init__(self, options, emit=emit):
        self.options = options
        self.emit = emit
        self.room = rtc.Room()
        self.done = asyncio.Event()
        self.tracks = {}
        # Of every track there ever was.
        self.meters = []
        self.readers = {}
        self.bytes = {}
        # Packets that never came, or came only when they were asked for again.
        self.lost = {}
        self.published = {}
        self.seen = set()
        self.gone = set()
        self.data = 0
        self.recorded = []
        self.disconnected = False
        self.broken = None
        self.summed_up = now()

    async def run(self):
        """Returns the exit code."""
        self._listen()
        token = self.options.token or os.environ["JUDGE_TOKEN"]
        self.emit("connecting", url=self.options.url)
        await self.room.connect(self.options.url, token)
        self.emit("connected", room=self.room.name, identity=self.room.local_participant.identity)
        for participant in self.room.remote_participants.values():
            self._joined(participant)
        if self.options.publish_tone:
            await self.publish_tone({"hz": self.options.publish_tone})
        jobs = [asyncio.create_task(self._report())]
        if self.options.commands:
            jobs.append(asyncio.create_task(self._commands()))
        try:
            await asyncio.wait_for(self.done.wait(), self.options.seconds)
        except asyncio.TimeoutError:
            pass
        for job in jobs:
            job.cancel()
        missing = [condition for condition in self.options.until if not self._holds(condition)]
        thrown_out = self.disconnected
        self.emit("end", missing=missing, tracks=self._summary(now()))
        await self.room.disconnect()
        if self.broken:
            raise self.broken
        return 1 if missing or thrown_out else 0

    def _listen(self):
        room = self.room
        room.on("participant_connected", self._joined)
        room.on("participant_active", lambda p: self.emit("participant_active", identity=p.identity, sid=p.sid))
        room.on("participant_disconnected", self._left)
        room.on("track_subscribed", self._subscribed)
        room.on("track_unsubscribed", self._unsubscribed)
        room.on("track_muted", lambda p, t: self.emit("track_muted", identity=p.identity, track=t.sid))
        room.on("track_unmuted", lambda p, t: self.emit("track_unmuted", identity=p.identity, track=t.sid))
        room.on("data_received", self._data)
        room.on("reconnecting", lambda: self.emit("reconnecting"))
        room.on("reconnected", lambda: self.emit("reconnected"))
        room.on("disconnected", self._disconnected)
        room.on(
            "participant_attributes_changed",
            lambda changed, p: self.emit("attributes", identity=p.identity, attributes=dict(p.attributes)),
        )
        room.on(
            "participant_metadata_changed",
            lambda p, before, after: self.emit("metadata", identity=p.identity, metadata=after),
        )
        room.on("participant_name_changed", lambda p, before, after: self.emit("name", identity=p.identity, name=after))

    def _joined(self, participant):
        self.seen.add(participant.identity)
        self.emit(
            "participant_joined",
            identity=participant.identity,
            sid=participant.sid,
            name=participant.name,
            kind=rtc.ParticipantKind.Name(participant.kind),
            metadata=participant.metadata,
            attributes=dict(participant.attributes),
        )

    def _left(self, participant):
        self.gone.add(participant.identity)
        self.emit("participant_left", identity=participant.identity, sid=participant.sid)

    def _subscribed(self, track, publication, participant):
        at = now()
        video = track.kind == rtc.TrackKind.KIND_VIDEO
        self.emit(
            "track_subscribed",
            at,
            identity=participant.identity,
            track=track.sid,
            name=publication.name,
            kind="video" if video else "audio",
            mime=publication.mime_type,
            source=rtc.TrackSource.Name(publication.source),
        )
        meter = Video() if video else Audio(AUDIO_RATE)
        self.meters.append(meter)
        self.tracks[track.sid] = (participant.identity, track, meter)
        reader = asyncio.create_task(self._watch(track) if video else self._hear(track))
        reader.add_done_callback(self._reader_ended)
        self.readers[track.sid] = reader

    def _unsubscribed(self, track, publication, participant):
        self.emit("track_unsubscribed", identity=participant.identity, track=track.sid)
        self.tracks.pop(track.sid, None)
        reader = self.readers.pop(track.sid, None)
        if reader:
            reader.cancel()

    def _reader_ended(self, reader):
        """A judge that cannot read is no judge: it says so and ends."""
        if not reader.cancelled() and reader.exception():
            self.broken = reader.exception()
            self.done.set()

    def _data(self, packet):
        self.data += 1
        identity = packet.participant.identity if packet.participant else ""
        self.emit(
            "data",
            identity=identity,
            topic=packet.topic or "",
            text=packet.data.decode("utf-8", "replace"),
            bytes=len(packet.data),
            reliable=packet.kind == rtc.DataPacketKind.KIND_RELIABLE,
        )

    def _disconnected(self, reason):
        self.emit("disconnected", reason=rtc.DisconnectReason.Name(reason) if reason is not None else "")
        self.disconnected = True
        self.done.set()

    async def _watch(self, track):
        identity, _, video = self.tracks[track.sid]
        stream = rtc.VideoStream(track)
        last = None
        try:
            async for event in stream:
                at = now()
                frame = event.frame
                if not video.frame(frame.width, frame.height, at):
                    continue
                last = frame
                video.look(luma(frame), at)
                if video.frames == 1:
                    self.emit("first_video", at, identity=identity, track=track.sid, width=frame.width, height=frame.height)
                if self.options.save_png and video.frames == self.options.save_frame:
                    self._save(frame)
        finally:
            # A machine that was too slow for that many has a picture all the same.
            if self.options.save_png and 0 < video.frames < self.options.save_frame:
                self._save(last)
            await stream.aclose()

    async def _hear(self, track):
        identity, _, audio = self.tracks[track.sid]
        stream = rtc.AudioStream(track, sample_rate=AUDIO_RATE, num_channels=1)
        try:
            async for event in stream:
                at = now()
                unheard = audio.first is None
                samples = numpy.frombuffer(event.frame.data, numpy.int16)
                audio.frame(samples, at)
                if self.options.save_wav:
                    self._record(samples)
                if unheard and audio.first is not None:
                    self.emit("first_audio", at, identity=identity, track=track.sid)
        finally:
            await stream.aclose()

    def _record(self, samples):
        """Writes each window of the length that was asked for over the one before, and says so."""
        self.recorded.append(samples.copy())
        if sum(map(len, self.recorded)) < self.options.save_wav_seconds * AUDIO_RATE:
            return
        # Never half a file where somebody reads it meanwhile.
        unfinished = self.options.save_wav + ".new"
        with wave.open(unfinished, "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(AUDIO_RATE)
            file.writeframes(numpy.concatenate(self.recorded).tobytes())
        os.replace(unfinished, self.options.save_wav)
        self.recorded.clear()
        self.emit("sound", path=os.path.abspath(self.options.save_wav))

    def _save(self, frame):
        from PIL import Image

        picture = frame.convert(rtc.VideoBufferType.RGB24)
        Image.frombytes("RGB", (frame.width, frame.height), bytes(picture.data)).save(self.options.save_png)
        self.emit("picture", path=os.path.abspath(self.options.save_png), width=frame.width, height=frame.height)

    async def _report(self):
        while True:
            await asyncio.sleep(1.0)
            at = now()
            await self._count_bytes(at - self.summed_up)
            self.emit("second", at, tracks=self._summary(at))
            if self.options.until and all(self._holds(condition) for condition in self.options.until):
                self.done.set()

    async def _count_bytes(self, seconds):
        for sid, (_, track, _) in list(self.tracks.items()):
            for stat in await track.get_stats():
                if stat.HasField("inbound_rtp"):
                    total = stat.inbound_rtp.inbound.bytes_received
                    before, _ = self.bytes.get(sid, (0, 0))
                    self.bytes[sid] = (total, round((total - before) * 8 / seconds / 1000))
                    self.lost[sid] = stat.inbound_rtp.received.packets_lost

    def _summary(self, at):
        seconds, self.summed_up = max(at - self.summed_up, 0.001), at
        lines = []
        for sid, (identity, _, meter) in self.tracks.items():
            video = isinstance(meter, Video)
            report = meter.report(seconds, at) if video else meter.report()
            kind = "video" if video else "audio"
            kbit_s = self.bytes.get(sid, (0, 0))[1]
            lines.append({"kind": kind, "identity": identity, "track": sid, "kbit_s": kbit_s, "lost": self.lost.get(sid, 0), **report})
        return lines

    def videos(self):
        return [meter for meter in self.meters if isinstance(meter, Video)]

    def audios(self):
        return [meter for meter in self.meters if isinstance(meter, Audio)]

    def _holds(self, condition):
        what, _, value = condition.partition(":")
        if what == "video":
            return any(video.frames >= int(value) for video in self.videos())
        if what == "audio":
            return any(audio.heard >= float(value) for audio in self.audios())
        if what == "data":
            return self.data >= int(value)
        return value in (self.seen if what == "joined" else self.gone)

    async def _commands(self):
        reader = asyncio.StreamReader(limit=COMMAND_BYTES)
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        actions = {
            "publish_tone": self.publish_tone,
            "publish_picture": self.publish_picture,
            "unpublish": self.unpublish,
            "subscribe": self.subscribe,
            "send": self.send,
        }
        while line := await reader.readline():
            command = json.loads(line)
            if command["do"] == "leave":
                break
            await actions[command["do"]](command)
            self.emit("did", command=command["do"])
        self.done.set()

    async def publish_tone(self, command):
        """Publishes a sine at -20 dBFS until `unpublish`."""
        source = rtc.AudioSource(AUDIO_RATE, 1)
        track = rtc.LocalAudioTrack.create_audio_track("tone", source)
        options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE)
        publication = await self.room.local_participant.publish_track(track, options)
        player = asyncio.create_task(self._play(source, command.get("hz", 440)))
        self.published["tone"] = (publication, player)
        self.emit("published", track=publication.sid)

    async def _play(self, source, hz):
        samples = AUDIO_RATE // 50
        position = 0
        while True:
            phase = 2 * numpy.pi * hz * (position + numpy.arange(samples)) / AUDIO_RATE
            # -20 dBFS of a sine: 0.1 of full scale RMS.
            wave = (numpy.sin(phase) * 0.1 * numpy.sqrt(2) * 32767).astype(numpy.int16)
            frame = rtc.AudioFrame(wave.tobytes(), AUDIO_RATE, 1, samples)
            await source.capture_frame(frame)
            position += samples

    async def publish_picture(self, command):
        """Publishes a moving grey ramp, 320x240 at 15 fps in H.264, until `unpublish`."""
        source = rtc.VideoSource(*PICTURE)
        track = rtc.LocalVideoTrack.create_video_track("picture", source)
        options = rtc.TrackPublishOptions(
            source=rtc.TrackSource.SOURCE_CAMERA, video_codec=rtc.VideoCodec.H264, simulcast=False
        )
        publication = await self.room.local_participant.publish_track(track, options)
        player = asyncio.create_task(self._show(source))
        self.published["picture"] = (publication, player)
        self.emit("published", track=publication.sid)

    async def _show(self, source):
        width, height = PICTURE
        chroma = numpy.full(width * height // 2, 128, numpy.uint8)
        ramp = numpy.arange(width * height) // height
        step = 0
        while True:
            luma = ((ramp + step * 4) % 256).astype(numpy.uint8)
            data = numpy.concatenate([luma, chroma]).tobytes()
            source.capture_frame(rtc.VideoFrame(width, height, rtc.VideoBufferType.I420, data))
            step += 1
            await asyncio.sleep(1 / 15)

    async def unpublish(self, command):
        publication, player = self.published.pop(command.get("name", "tone"))
        player.cancel()
        await self.room.local_participant.unpublish_track(publication.sid)

    async def subscribe(self, command):
        """Gives up every picture of others, or wants them again."""
        for participant in self.room.remote_participants.values():
            for publication in participant.track_publications.values():
                if publication.kind == rtc.TrackKind.KIND_VIDEO:
                    publication.set_subscribed(command["pictures"])

    async def send(self, command):
        """Sends a text, or `count` numbered packets of `bytes` each."""
        count, size = command.get("count", 1), command.get("bytes", 0)
        for number in range(count):
            text = command["text"] if "text" in command else f"{number} ".ljust(size, "x")
            await self.room.local_participant.publish_data(
                text, reliable=command.get("reliable", True), topic=command.get("topic", "")
            )


async def run(judge):
    """Runs a judge until it is done or interrupted; returns the exit code."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, judge.done.set)
    try:
        return await judge.run()
    except rtc.ConnectError as error:
        judge.emit("connect_failed", error=str(error))
        return 2


async def main(options):
    # A room belongs to the loop that runs while it is made: elsewhere it would never hear an event.
    return await run(Judge(options))


def leave(code):
    """Ends this process at once: threads of the SDK still call into Python, and where it is being taken down they abort us."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    leave(asyncio.run(main(options_parser(__doc__).parse_args())))
