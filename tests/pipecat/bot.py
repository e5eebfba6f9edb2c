#!/usr/bin/env python3
"""A voicebot made with pipecat, as its users make one: `ExotelFrameSerializer` behind the FastAPI WebSocket transport.

It echoes what it hears, sample for sample. Digit `*` interrupts (pipecat sends `clear`), digit `9` makes it hang up.
Nothing in it knows Trunkstream: what it shows is that a bot written for AgentStream works unchanged.

    python bot.py --listen 127.0.0.1:9002 --journal bot.jsonl

The journal (standard output without --journal) is JSON lines: {"t_ms", "connection", "event", ...} with the events
listening, open (path, headers), detected (what pipecat made of the first two messages), each message received except
media under its own name, dtmf_frame (what pipecat's pipeline saw), clear, hangup, closed (code, bytes_in, bytes_out).
"""

import argparse
import itertools
import json
import sys
import time

import uvicorn
from fastapi import FastAPI, WebSocket
from loguru import logger
from pipecat.frames.frames import EndFrame, Frame, InputAudioRawFrame, InputDTMFFrame, OutputAudioRawFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.runner.utils import parse_telephony_websocket
from pipecat.serializers.exotel import ExotelFrameSerializer
from pipecat.transports.websocket.fastapi import FastAPIWebsocketParams, FastAPIWebsocketTransport
from pipecat.workers.runner import WorkerRunner


class Journal:
    """JSON lines, each written out at once."""

    def __init__(self, path):
        self.file = open(path, "w", encoding="utf-8") if path else sys.stdout
        self.started = time.monotonic()

    def write(self, connection, event, **more):
        t_ms = int((time.monotonic() - self.started) * 1000)
        line = {"t_ms": t_ms, "connection": connection, "event": event, **more}
        print(json.dumps(line), file=self.file, flush=True)


class Call:
    """One connection's line in the journal and its byte counts."""

    def __init__(self, journal, number):
        self.journal, self.number = journal, number
        self.bytes_in = self.bytes_out = self.media_messages = 0
        self.code = None

    def note(self, event, **more):
        self.journal.write(self.number, event, **more)

    def overhear(self, websocket):
        """Notes every message but media, and the close code, without touching what pipecat gets."""
        receive = websocket.receive

        async def overheard():
            message = await receive()
            if message["type"] == "websocket.disconnect":
                self.code = message.get("code")
            elif message.get("text") is not None:
                self.note_message(message["text"])
            return message

        websocket.receive = overheard

    def note_message(self, text):
        try:
            message = json.loads(text)
        except ValueError:
            return self.note("unreadable", text=text[:200])
        if message.get("event") == "media":
            self.media_messages += 1
        else:
            self.note(str(message.get("event")), message=message)


class Echo(FrameProcessor):
    """Audio in becomes audio out; `*` interrupts, `9` hangs up."""

    def __init__(self, call):
        super().__init__()
        self.call = call
        self.worker = None

    async def process_frame(self, frame: Frame, direction: FrameDirection):
        await super().process_frame(frame, direction)
        if isinstance(frame, InputAudioRawFrame):
            self.call.bytes_in += len(frame.audio)
            echoed = OutputAudioRawFrame(frame.audio, frame.sample_rate, frame.num_channels)
            await self.push_frame(echoed)
        elif isinstance(frame, InputDTMFFrame):
            digit = frame.button.value
            self.call.note("dtmf_frame", digit=digit)
            if digit == "*":
                self.call.note("clear")
                await self.broadcast_interruption()
            if digit == "9":
                self.call.note("hangup")
                await self.worker.queue_frame(EndFrame())
        else:
            await self.push_frame(frame, direction)


class Counting(ExotelFrameSerializer):
    """The serializer as it is, with a count of the audio it puts out."""

    def __init__(self, call, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.call = call

    async def serialize(self, frame: Frame):
        if isinstance(frame, OutputAudioRawFrame):
            self.call.bytes_out += len(frame.audio)
        return await super().serialize(frame)


async def serve_call(websocket: WebSocket, call: Call):
    await websocket.accept()
    query = websocket.url.query
    headers = {name: "***" if name == "authorization" else value for name, value in websocket.headers.items()}
    call.note("open", path=websocket.url.path + (f"?{query}" if query else ""), headers=headers)
    call.overhear(websocket)
    kind, data = await parse_telephony_websocket(websocket)
    call.note("detected", transport=kind, call=data.model_dump(mode="json"))

    rate = int(websocket.query_params.get("sample-rate", "8000"))
    serializer = Counting(
        call,
        stream_sid=data["stream_id"],
        call_sid=data["call_id"],
        params=ExotelFrameSerializer.InputParams(exotel_sample_rate=rate),
    )
    transport = FastAPIWebsocketTransport(
        websocket=websocket,
        params=FastAPIWebsocketParams(
            audio_in_enabled=True,
            audio_out_enabled=True,
            audio_out_auto_silence=False,
            audio_out_end_silence_secs=0,
            serializer=serializer,
        ),
    )
    echo = Echo(call)
    worker = PipelineWorker(
        Pipeline([transport.input(), echo, transport.output()]),
        params=PipelineParams(audio_in_sample_rate=rate, audio_out_sample_rate=rate),
        idle_timeout_secs=None,
    )
    echo.worker = worker

    @transport.event_handler("on_client_disconnected")
    async def on_client_disconnected(_transport, _client):
        await worker.cancel()

    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    await runner.run()


def application(journal):
    app = FastAPI()
    numbers = itertools.count(1)

    @app.websocket("/{path:path}")
    async def media(websocket: WebSocket, path: str):
        call = Call(journal, next(numbers))
        try:
            await serve_call(websocket, call)
        except Exception as error:  # the journal says why; the next call is served all the same
            call.note("error", reason=f"{type(error).__name__}: {error}")
        call.note(
            "closed",
            code=call.code,
            media_messages=call.media_messages,
            bytes_in=call.bytes_in,
            bytes_out=call.bytes_out,
        )

    return app


class Server(uvicorn.Server):
    """uvicorn that says in the journal where it listens."""

    def __init__(self, config, journal):
        super().__init__(config)
        self.journal = journal

    async def startup(self, sockets=None):
        await super().startup(sockets)
        for server in self.servers:
            for sock in server.sockets:
                host, port = sock.getsockname()[:2]
                self.journal.write(0, "listening", host=host, port=port)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--listen", default="127.0.0.1:9002", help="address:port; port 0 takes a free one (default %(default)s)")
    parser.add_argument("--journal", help="write the journal here instead of standard output")
    parser.add_argument("--verbose", action="store_true", help="show pipecat's own log on standard error")
    arguments = parser.parse_args()
    if not arguments.verbose:
        logger.remove()
        logger.add(sys.stderr, level="WARNING")
    host, port = arguments.listen.rsplit(":", 1)
    journal = Journal(arguments.journal)
    config = uvicorn.Config(application(journal), host=host, port=int(port), log_level="warning")
    Server(config, journal).run()


if __name__ == "__main__":
    main()
