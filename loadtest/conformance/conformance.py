"""Drives the official SDKs of Deepgram, OpenAI and ElevenLabs against the simulators.

Knows the SDKs' public interfaces, and one private field of ElevenLabs' that has no public twin.
"""

import base64
import json
import math
import sys
import threading
import time
import urllib.request

import openai
import websockets.exceptions
from deepgram import DeepgramClient
from deepgram.environment import DeepgramClientEnvironment
from deepgram.listen.v1.types.listen_v1metadata import ListenV1Metadata
from deepgram.listen.v1.types.listen_v1results import ListenV1Results
from deepgram.listen.v1.types.listen_v1speech_started import ListenV1SpeechStarted
from deepgram.listen.v1.types.listen_v1utterance_end import ListenV1UtteranceEnd
from elevenlabs.client import ElevenLabs
from elevenlabs.core.api_error import ApiError as ElevenLabsError
from elevenlabs.types.audio_output_multi import AudioOutputMulti
from elevenlabs.types.final_output_multi import FinalOutputMulti
from websockets.sync.client import connect

ADDRESS = sys.argv[1]
KEY = "sim-key"


def fault(provider, kind, **more):
    body = json.dumps({"provider": provider, "kind": kind, **more}).encode()
    request = urllib.request.Request(f"http://{ADDRESS}/fault", body, {"Content-Type": "application/json"})
    assert urllib.request.urlopen(request).status == 204


def mulaw(sample):
    """One sample as G.711 mu-law."""
    sign = 0x80 if sample < 0 else 0
    sample = min(abs(sample), 32635) + 132
    exponent = max(sample.bit_length() - 8, 0)
    return ~(sign | exponent << 4 | (sample >> (exponent + 3)) & 15) & 0xFF


SPEECH = bytes(mulaw(int(9000 * math.sin(0.35 * n))) for n in range(160))
SILENCE = b"\xff" * 160


# Deepgram.


def deepgram(key=KEY):
    here = DeepgramClientEnvironment(
        base=f"http://{ADDRESS}", production=f"ws://{ADDRESS}", agent=f"ws://{ADDRESS}", agent_rest=f"http://{ADDRESS}"
    )
    return DeepgramClient(api_key=key, environment=here)


LINE = dict(model="sim", encoding="mulaw", sample_rate=8000, interim_results=True, vad_events=True)


def collect(stream, seen):
    try:
        for message in stream:
            seen.append(message)
    except websockets.exceptions.ConnectionClosed as closed:
        seen.append(closed)


def deepgram_transcribes():
    seen = []
    with deepgram().listen.v1.connect(endpointing=300, utterance_end_ms=1000, **LINE) as stream:
        reader = threading.Thread(target=collect, args=(stream, seen))
        reader.start()
        for frame in [SPEECH] * 60 + [SILENCE] * 70 + [SPEECH] * 40:
            stream.send_media(frame)
        stream.send_keep_alive()
        stream.send_finalize()
        stream.send_finalize()
        time.sleep(0.4)
        stream.send_close_stream()
        reader.join(10)
    strict = [type(message).model_validate(message.model_dump()) for message in seen if hasattr(message, "model_dump")]
    results = [message for message in strict if isinstance(message, ListenV1Results)]
    texts = [(r.channel.alternatives[0].transcript, r.speech_final, r.from_finalize) for r in results if r.is_final]
    assert texts == [
        ("Hello.", True, False),
        ("I would like to book a table for two.", False, True),
        ("", False, True),
        ("", True, False),
    ], texts
    assert any(not r.is_final for r in results), "interims"
    assert sum(isinstance(message, ListenV1SpeechStarted) for message in strict) == 2
    assert sum(isinstance(message, ListenV1UtteranceEnd) for message in strict) == 1
    assert isinstance(strict[-1], ListenV1Metadata), strict[-1]


def deepgram_refuses_a_wrong_key():
    try:
        with deepgram("wrong").listen.v1.connect(**LINE):
            raise AssertionError("let in")
    except websockets.exceptions.InvalidStatus as error:
        assert error.response.status_code == 401, error
        assert error.response.headers["dg-error"], error.response.headers


def deepgram_closes_an_idle_stream():
    seen = []
    with deepgram().listen.v1.connect(**LINE) as stream:
        collect(stream, seen)
        socket = stream._websocket
    close = socket.close_code, socket.close_reason
    assert close[0] == 1011 and "NET-0001" in close[1], close


# OpenAI.


def chat(said="Is gate B open?", key=KEY, **more):
    client = openai.OpenAI(base_url=f"http://{ADDRESS}/v1", api_key=key, max_retries=0)
    return client.chat.completions.create(model="sim", messages=[{"role": "user", "content": said}], **more)


def gathered(chunks):
    text, calls, usage, reasons = "", {}, None, []
    for chunk in chunks:
        usage = chunk.usage or usage
        for choice in chunk.choices:
            text += choice.delta.content or ""
            reasons += [choice.finish_reason] if choice.finish_reason else []
            for call in choice.delta.tool_calls or []:
                known = calls.setdefault(call.index, {"id": call.id, "name": call.function.name, "arguments": ""})
                known["arguments"] += call.function.arguments or ""
    return text, list(calls.values()), usage, reasons


def openai_streams_a_reply():
    for dialect in ["none", "split", "crlf", "comments", "unknown"]:
        fault("openai", dialect)
        chunks = chat(stream=True, stream_options={"include_usage": True})
        text, _, usage, reasons = gathered(chunk for chunk in chunks if chunk.object == "chat.completion.chunk")
        assert text == "You said Is gate B open.", text
        assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
        assert reasons == ["stop"], reasons
    fault("openai", "none")
    assert chat().choices[0].message.content == "You said Is gate B open."


GATE = {"type": "object", "properties": {"gate": {"type": "string"}}, "required": ["gate"]}
TOOLS = [{"type": "function", "function": {"name": "gate_status", "parameters": GATE}}]


def openai_calls_tools():
    for dialect, count in [("none", 1), ("tool_whole", 1), ("tool_parallel", 2)]:
        fault("openai", dialect)
        _, calls, _, reasons = gathered(chat("gate status of B", stream=True, tools=TOOLS))
        assert [json.loads(call["arguments"]) for call in calls] == [{"gate": "B"}] * count, calls
        assert all(call["name"] == "gate_status" and call["id"] for call in calls), calls
        assert reasons == ["tool_calls"], reasons
    fault("openai", "none")
    call = chat("gate status of B", tools=TOOLS).choices[0].message.tool_calls[0]
    assert json.loads(call.function.arguments) == {"gate": "B"}


def openai_errors_have_their_types():
    kinds = [
        ("http_400", openai.BadRequestError),
        ("http_429", openai.RateLimitError),
        ("http_500", openai.InternalServerError),
        ("error_midway", openai.APIError),
        ("reset_midway", Exception),
    ]
    for kind, expected in kinds:
        fault("openai", kind, count=1)
        try:
            gathered(chat(stream=True))
        except expected:
            continue
        raise AssertionError(f"{kind} went unnoticed")
    try:
        chat(key="wrong")
    except openai.AuthenticationError as error:
        assert error.code == "invalid_api_key"
    else:
        raise AssertionError("let in")


def openai_is_asked_again_when_it_says_so():
    fault("openai", "http_429", count=1, retry_after_ms=300)
    client = openai.OpenAI(base_url=f"http://{ADDRESS}/v1", api_key=KEY)
    started = time.monotonic()
    client.chat.completions.create(model="sim", messages=[{"role": "user", "content": "Hi"}])
    assert time.monotonic() - started >= 0.3
    assert [model.id for model in client.models.list()] == ["sim"]


# ElevenLabs.


def elevenlabs(key=KEY):
    client = ElevenLabs(api_key=key)
    client.text_to_speech._ws_base_url = f"ws://{ADDRESS}"
    return client.text_to_speech


def elevenlabs_speaks():
    for output_format, bytes_a_second in [("ulaw_8000", 8000), ("pcm_16000", 32000), ("pcm_24000", 48000)]:
        words = iter(["Your table ", "is ready."])
        audio = elevenlabs().convert_realtime(voice_id="v", text=words, model_id="sim", output_format=output_format)
        seconds = len(b"".join(audio)) / bytes_a_second
        # 60 ms for each of 19 characters; the SDK cuts the text where it likes, which may cost a space.
        assert 1.0 <= seconds <= 1.14, seconds


def elevenlabs_refuses():
    def speak(key):
        return b"".join(
            elevenlabs(key).convert_realtime(voice_id="v", text=iter(["Hello."]), model_id="m", output_format="ulaw_8000")
        )

    for kind, key in [("none", "wrong"), ("http_429", KEY), ("close_1008", KEY)]:
        fault("elevenlabs", kind)
        try:
            speak(key)
        except (ElevenLabsError, websockets.exceptions.InvalidStatus):
            continue
        raise AssertionError(f"{kind} went unnoticed")
    fault("elevenlabs", "none")


def elevenlabs_speaks_in_contexts():
    """The SDK has the messages of multi-stream-input as types but no client for it."""
    url = f"ws://{ADDRESS}/v1/text-to-speech/v/multi-stream-input?model_id=m&output_format=ulaw_8000"
    ends, bytes_of = [], {}
    with connect(url, additional_headers={"xi-api-key": KEY}) as socket:
        for context, text in [("a", "Hello there. "), ("b", "Yes. ")]:
            socket.send(json.dumps({"text": " ", "context_id": context}))
            socket.send(json.dumps({"text": text, "context_id": context, "flush": True}))
            socket.send(json.dumps({"context_id": context, "close_context": True}))
        while len(ends) < 2:
            message = json.loads(socket.recv(5))
            if message.get("isFinal"):
                ends.append(FinalOutputMulti.model_validate(message).context_id)
                continue
            output = AudioOutputMulti.model_validate(message)
            characters = len(output.alignment.chars)
            assert len(output.alignment.char_start_times_ms) == characters
            audio = base64.b64decode(output.audio)
            assert len(audio) == characters * 480
            bytes_of[output.context_id] = bytes_of.get(output.context_id, 0) + len(audio)
        socket.send(json.dumps({"close_socket": True}))
    assert bytes_of == {"a": 12 * 480, "b": 4 * 480}, bytes_of
    assert sorted(ends) == ["a", "b"], ends


CHECKS = [
    deepgram_transcribes,
    deepgram_refuses_a_wrong_key,
    deepgram_closes_an_idle_stream,
    openai_streams_a_reply,
    openai_calls_tools,
    openai_errors_have_their_types,
    openai_is_asked_again_when_it_says_so,
    elevenlabs_speaks,
    elevenlabs_refuses,
    elevenlabs_speaks_in_contexts,
]


def main():
    failed = 0
    for check in CHECKS:
        try:
            check()
            print(f"ok      {check.__name__}")
        except Exception as error:  # One failure must not hide the others.
            failed += 1
            print(f"FAILED  {check.__name__}: {type(error).__name__}: {error}")
    print(f"{len(CHECKS) - failed} of {len(CHECKS)} hold")
    sys.exit(1 if failed else 0)


main()
