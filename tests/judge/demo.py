"""The watching half of tools/demo: dispatches the worker into a room, joins it and tells in plain lines what it decodes.

Reads LIVEKIT_URL, LIVEKIT_API_KEY and LIVEKIT_API_SECRET. Exit code 0 only if video frames were decoded.
"""

import asyncio
import datetime
from urllib.parse import urlencode

from livekit import api

from judge import Judge, leave, run
from options import options_parser

# Long enough to look at the demo the whole day.
TOKEN_TTL = datetime.timedelta(hours=12)

# A worker that has not shown a picture by then will not.
FIRST_FRAME_S = 30.0


def token(room, identity):
    grants = api.VideoGrants(room_join=True, room=room)
    return api.AccessToken().with_identity(identity).with_grants(grants).with_ttl(TOKEN_TTL).to_jwt()


def narrate(event, at=None, **fields):
    """Prints what a person wants to see of the judge's events."""
    if event == "second":
        tracks = sorted(fields["tracks"], key=lambda track: track["kind"], reverse=True)
        print("  ".join(map(track_line, tracks)) or "waiting for a track", flush=True)
    elif event == "participant_joined":
        print(f"{fields['identity']} joined ({fields['kind'].removeprefix('PARTICIPANT_KIND_').lower()})", flush=True)
    elif event == "participant_left":
        print(f"{fields['identity']} left", flush=True)
    elif event == "picture":
        print(f"picture: {fields['path']}", flush=True)
    elif event == "connect_failed":
        print(f"cannot join: {fields['error']}", flush=True)
    elif event == "disconnected" and fields["reason"] != "CLIENT_INITIATED":
        print(f"thrown out: {fields['reason']}", flush=True)


def track_line(track):
    if track["kind"] == "video" and not track["width"]:
        return "video: no picture yet"
    if track["kind"] == "video":
        return (
            f"video {track['width']}x{track['height']} {track['fps']:4.1f} fps {track['kbit_s']:5d} kbit/s"
            f" longest gap {track['gap_ms']} ms"
        )
    return f"audio {track['level_dbfs']:5.1f} dBFS {track['pitch_hz']:6.1f} Hz {track['kbit_s']:3d} kbit/s"


async def main(options):
    async with api.LiveKitAPI() as livekit:
        request = api.CreateAgentDispatchRequest(room=options.room, agent_name=options.agent)
        await livekit.agent_dispatch.create_dispatch(request)
    print(f"dispatched {options.agent} into room {options.room}", flush=True)
    viewer = token(options.room, "browser")
    query = urlencode({"liveKitUrl": options.url, "token": viewer})
    print(f"watch:   https://meet.livekit.io/custom?{query}\nserver:  {options.url}\ntoken:   {viewer}", flush=True)
    options.token = token(options.room, "judge")
    judge = Judge(options, narrate)
    watchdog = asyncio.create_task(give_up(judge))
    code = await run(judge)
    watchdog.cancel()
    frames = sum(track.frames for track in judge.videos())
    seconds = sum(track.heard for track in judge.audios())
    print(f"decoded {frames} frames and {seconds:.1f} s of sound", flush=True)
    return code or (0 if frames else 1)


async def give_up(judge):
    await asyncio.sleep(FIRST_FRAME_S)
    if not any(track.frames for track in judge.videos()):
        print(f"no picture within {FIRST_FRAME_S:.0f} s", flush=True)
        judge.done.set()


def arguments():
    parser = options_parser(__doc__)
    parser.add_argument("--room", required=True)
    parser.add_argument("--agent", required=True)
    return parser.parse_args()


if __name__ == "__main__":
    leave(asyncio.run(main(arguments())))
