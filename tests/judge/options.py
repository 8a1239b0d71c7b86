"""The options of a judge."""

import argparse


def options_parser(description):
    """The options of a judge, for programs that are one to add theirs."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", required=True)
    parser.add_argument("--token", help="better in the environment: JUDGE_TOKEN")
    parser.add_argument("--seconds", type=float, help="end after this long")
    parser.add_argument("--save-png", help="write one decoded frame to this file")
    parser.add_argument("--save-frame", type=int, default=30, help="which frame to save (default 30)")
    parser.add_argument("--save-wav", help="write decoded sound to this file, window after window")
    parser.add_argument("--save-wav-seconds", type=float, default=6, help="length of a window (default 6)")
    parser.add_argument("--publish-tone", type=float, metavar="HZ")
    parser.add_argument("--commands", action="store_true", help="read JSON commands from standard input, leave at its end")
    parser.add_argument(
        "--until",
        action="append",
        default=[],
        metavar="CONDITION",
        type=condition,
        help="video:FRAMES, audio:SECONDS, data:PACKETS, joined:IDENTITY, left:IDENTITY; repeatable",
    )
    return parser


def condition(text):
    what, _, value = text.partition(":")
    if what not in ("video", "audio", "data", "joined", "left") or not value:
        raise argparse.ArgumentTypeError(f"{text!r} is not a condition")
    return text
